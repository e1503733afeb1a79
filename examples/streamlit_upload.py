"""A Streamlit page that shows what the guard makes of an upload. Needs streamlit.

streamlit run examples/streamlit_upload.py
"""

from __future__ import annotations

import streamlit

from ondevice_guard import Guard


@streamlit.cache_resource
def the_guard() -> Guard:
    """Models are loaded once for all visitors."""
    return Guard().warm_up()


streamlit.title("What does the model get to see?")
upload = streamlit.file_uploader("Picture", ["png", "jpg", "jpeg", "webp", "gif", "bmp"])
prompt = streamlit.text_input("Prompt", "What is this?")
if upload is not None:
    verdict = the_guard().check(upload.getvalue(), prompt, claimed=upload.name)
    streamlit.subheader(str(verdict.decision))
    for reason in verdict.reasons:
        streamlit.write("·", reason)
    if verdict:
        streamlit.image(verdict.to_numpy(), caption="what may be sent")
    streamlit.bar_chart({kind: score for kind, score in verdict.scores.items() if score >= 0.01})
