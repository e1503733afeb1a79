"""Adapters: one file for each host, imported only when it is asked for, thin over `Guard.check_messages`.

from ondevice_guard.integrations import transformers
processor = transformers.protect(AutoProcessor.from_pretrained(...), guard)
"""
