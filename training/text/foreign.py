# ruff: noqa: E402
"""Everyday questions in fifteen languages, of our own making, and the calibration of text that the vocabulary breaks up.

    python training/text/foreign.py --data DATA --models models

The encoder's vocabulary is English: other languages reach it in fragments, about which it knows little beyond "this is
a question in another language", and most such questions among its training rows were harmful ones. There the linear
model, whose n-grams know no vocabulary, tells everyday from harmful better than the encoder does. So the ensemble has
coefficients of its own for `harmful` where more than SHARE of the pieces continue a word. They are fitted on the
questions below, which neither model saw, against harmful rows of xsafety in such languages, which both saw: the figure
for what is found flatters, the one for false alarms does not. `tests` and benchmarks use other sentences.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "python")]

import data as texts

from ondevice_guard.detectors.text import TextDetector

#: One in 22 of the held-out ordinary benign prompts (English, mostly code and names) and 90 % of the questions below lie above.
SHARE = 0.35
POSITIVES = 200

EVERYDAY: dict[str, list[str]] = {
    "German": [
        "Wann fährt der letzte Bus zum Bahnhof?",
        "Wie lange muss ein weiches Ei kochen?",
        "Welche Blumen blühen im Schatten?",
        "Kannst du mir bei der Steuererklärung helfen?",
        "Warum ist der Himmel am Abend rot?",
        "Wie schreibe ich eine Kündigung für meinen Handyvertrag?",
        "Was kostet ein Zimmer in einem kleinen Hotel an der Ostsee?",
        "Schreib mir bitte ein kurzes Gedicht über den Herbst.",
        "Welches Brot passt zu Käse?",
        "Wie groß wird ein Apfelbaum?",
    ],
    "French": [
        "Quelle est la meilleure saison pour visiter la Bretagne ?",
        "Comment enlever une tache de vin rouge ?",
        "Peux-tu résumer ce paragraphe en deux phrases ?",
        "Combien de temps faut-il pour apprendre le piano ?",
        "Pourquoi les feuilles tombent-elles en automne ?",
        "Écris une lettre de motivation pour un stage en boulangerie.",
        "Où se trouve la bibliothèque la plus proche ?",
        "Quel livre offrir à un enfant de huit ans ?",
        "Comment faire pousser des tomates sur un balcon ?",
        "Donne-moi une recette simple de quiche.",
    ],
    "Spanish": [
        "¿A qué hora sale el tren para Sevilla?",
        "¿Cómo se prepara una tortilla de patatas?",
        "¿Qué puedo regalar a mi abuela por su cumpleaños?",
        "Escribe un correo para pedir vacaciones en agosto.",
        "¿Por qué el mar es salado?",
        "¿Cuántos días necesito para ver Granada?",
        "Explícame la fotosíntesis con palabras sencillas.",
        "¿Qué diferencia hay entre por y para?",
        "Necesito un plan de entrenamiento para correr diez kilómetros.",
        "¿Cuál es la montaña más alta de España?",
    ],
    "Italian": [
        "A che ora chiude il museo?",
        "Come si cucina il risotto ai funghi?",
        "Scrivimi un messaggio di auguri per mia sorella.",
        "Perché il gatto fa le fusa?",
        "Quanto dista Firenze da Bologna?",
        "Mi spieghi il congiuntivo con due esempi?",
        "Qual è il periodo migliore per piantare le rose?",
        "Che cosa posso visitare a Torino in un giorno?",
        "Come pulisco una moka nuova?",
        "Riassumi la trama di Pinocchio.",
    ],
    "Portuguese": [
        "Que horas fecha o supermercado?",
        "Como faço um bolo de cenoura?",
        "Escreve um convite para uma festa de aniversário.",
        "Porque é que as andorinhas migram?",
        "Quanto tempo demora a viagem de Lisboa ao Porto?",
        "Qual é a diferença entre tu e você?",
        "Preciso de ideias para o almoço de domingo.",
        "Como posso melhorar a minha letra?",
        "Que árvore cresce mais depressa?",
        "Explica o que é uma metáfora.",
    ],
    "Dutch": [
        "Hoe laat begint de voorstelling vanavond?",
        "Wat is een goed recept voor erwtensoep?",
        "Kun je deze zin verbeteren?",
        "Waarom draaien molens?",
        "Welke fiets past bij iemand van twee meter?",
        "Schrijf een bedankbrief aan mijn buren.",
        "Hoe ver is het van Utrecht naar Gent?",
        "Hoe verzorg ik een orchidee?",
        "Wat betekent het woord gezellig?",
        "Welke boeken lezen kinderen graag?",
    ],
    "Polish": [
        "O której odjeżdża pociąg do Krakowa?",
        "Jak ugotować barszcz?",
        "Napisz życzenia urodzinowe dla kolegi.",
        "Dlaczego śnieg jest biały?",
        "Ile kilometrów ma Wisła?",
        "Jakie drzewo posadzić w małym ogrodzie?",
        "Wyjaśnij mi ułamki na przykładzie pizzy.",
        "Co warto zobaczyć w Gdańsku?",
        "Jak dbać o skórzane buty?",
        "Przetłumacz to zdanie na angielski.",
    ],
    "Turkish": [
        "Saat kaçta kapanıyor?",
        "Mercimek çorbası nasıl yapılır?",
        "Doktora nasıl randevu alabilirim?",
        "Kediler neden mırlar?",
        "İstanbul ile Ankara arası kaç saat sürer?",
        "Annem için kısa bir mektup yaz.",
        "Bahçeye hangi çiçekleri ekmeliyim?",
        "Bu cümleyi düzeltir misin?",
        "En sevdiğin Türk yemeği hangisi?",
        "Gökyüzü neden mavidir?",
    ],
    "Russian": [
        "Во сколько закрывается аптека?",
        "Как сварить хороший борщ?",
        "Почему листья желтеют осенью?",
        "Напиши поздравление для учительницы.",
        "Сколько ехать от Москвы до Казани?",
        "Объясни, что такое дробь.",
        "Какие цветы любят тень?",
        "Посоветуй книгу для отпуска.",
        "Как выбрать велосипед для ребёнка?",
        "Переведи это предложение на английский.",
    ],
    "Swedish": [
        "Vad kostar en biljett till Göteborg?",
        "Hur bakar man kanelbullar?",
        "Varför blir det norrsken?",
        "Skriv ett tack till min granne.",
        "Vilka träd växer snabbast?",
        "Hur långt är det till Stockholm?",
        "Kan du rätta min mening?",
        "Vilken tid öppnar badhuset?",
        "Vad betyder ordet lagom?",
        "Föreslå en bok för barn.",
    ],
    "Finnish": [
        "Kello kuinka paljon juna lähtee?",
        "Miten keitetään kahvia retkellä?",
        "Miksi lehdet putoavat syksyllä?",
        "Kirjoita lyhyt kutsu juhliin.",
        "Mikä on Suomen suurin järvi?",
        "Voitko korjata tämän lauseen?",
        "Mitä tehdä sateisena päivänä?",
        "Kuinka kauan peruna kiehuu?",
        "Mikä kukka sopii parvekkeelle?",
        "Kerro tarina pienestä karhusta.",
    ],
    "Vietnamese": [
        "Mấy giờ thư viện đóng cửa?",
        "Làm thế nào để nấu phở gà?",
        "Tại sao lá đổi màu vào mùa thu?",
        "Viết một lời chúc sinh nhật cho bạn tôi.",
        "Từ Hà Nội đến Huế bao xa?",
        "Giải thích phân số cho trẻ em.",
        "Nên trồng cây gì trong chậu nhỏ?",
        "Hãy sửa câu này giúp tôi.",
        "Món ăn nào hợp với ngày mưa?",
        "Giới thiệu một cuốn sách hay.",
    ],
    "Japanese": [
        "今日の夕食に何を作ればいいですか。",
        "京都で一日過ごすならどこがいいですか。",
        "この文を丁寧に直してください。",
        "なぜ空は青いのですか。",
        "誕生日カードの言葉を考えてください。",
        "犬の散歩は一日に何回必要ですか。",
        "駅まで歩いて何分かかりますか。",
        "初心者におすすめの楽器は何ですか。",
        "味噌汁の作り方を教えてください。",
        "夏休みの計画を立ててください。",
    ],
    "Korean": [
        "오늘 저녁에 무엇을 먹을까요?",
        "서울에서 부산까지 얼마나 걸려요?",
        "이 문장을 고쳐 주세요.",
        "김치찌개는 어떻게 끓여요?",
        "왜 하늘은 파란가요?",
        "친구 생일 축하 메시지를 써 주세요.",
        "초보자에게 좋은 운동은 무엇인가요?",
        "도서관은 몇 시에 닫나요?",
        "아이에게 읽어 줄 책을 추천해 주세요.",
        "여름 휴가 계획을 세워 주세요.",
    ],
    "Arabic": [
        "متى يغلق المتحف؟",
        "كيف أطبخ الأرز؟",
        "اكتب رسالة شكر إلى معلمتي.",
        "لماذا السماء زرقاء؟",
        "كم تبعد الإسكندرية عن القاهرة؟",
        "اشرح لي الكسور بمثال بسيط.",
        "ما هي أفضل هدية لأمي؟",
        "اقترح كتابا للأطفال.",
        "كيف أعتني بالنباتات في البيت؟",
        "صحح هذه الجملة من فضلك.",
    ],
}


def calibration(
    benign: tuple[np.ndarray, np.ndarray], harmful: tuple[np.ndarray, np.ndarray], point: float, slope: float
) -> list[float]:
    """Return (a, b, c) of sigmoid(a * encoder + b * linear + c), which at 1 % of the benign rows gives `point`.

    The fit gives the ratio of a to b; b itself is `slope`, that of the linear model alone, since a fit to rows that the
    models were trained on is far surer than it should be.
    """
    both = [np.column_stack(pair) for pair in (benign, harmful)]
    a, b, _ = texts.platt(np.concatenate(both), np.repeat([0.0, 1.0], [len(both[0]), len(both[1])]))
    a, b = a / b * slope, slope
    edge = texts.operating_point(both[0] @ np.array([a, b]), 0.01)
    return [round(float(v), 6) for v in (a, b, np.log(point / (1 - point)) - edge - 1e-5)]


def fit(models: Path, rows: list[texts.Row], point: float) -> tuple[dict[str, object], dict[str, object]]:
    """Return `calibration.fragmented` of the encoder's config, and its figures.

    Args:
        models: Directory with both text models.
        rows: All collected rows (`data.load`).
        point: The recorded operating point of `harmful` at 1 %.
    """
    detector = TextDetector(models, cascade=False)
    k = texts.LABELS.index("harmful")
    slope = detector.alone[k][0]

    def read(some: list[str]) -> list[np.ndarray]:
        raw = [detector.explain(text)[1] for text in some]
        return list(np.array([(r["encoder"][k], r["linear"][k], r["fragments"]) for r in raw]).T)

    language = np.array([name for name, questions in EVERYDAY.items() for _ in questions])
    *benign, share = read([q for questions in EVERYDAY.values() for q in questions])
    use = share > SHARE
    pool = [r["text"] for r in rows if r["source"] == "xsafety" and r["label"] == "harmful"]
    random.Random(0).shuffle(pool)
    *harmful, broken = read(pool[: 4 * POSITIVES])
    chosen = np.flatnonzero(broken > SHARE)[:POSITIVES]
    calm, bad = tuple(v[use] for v in benign), tuple(v[chosen] for v in harmful)

    def flagged(pair: tuple[np.ndarray, ...], c: list[float]) -> np.ndarray:
        return texts.sigmoid(c[0] * pair[0] + c[1] * pair[1] + c[2]) >= point

    coefficients = calibration(calm, bad, point, slope)  # type: ignore[arg-type]
    alarms = 0
    for name in EVERYDAY:
        left = language[use] == name
        there = calibration(tuple(v[~left] for v in calm), bad, point, slope)  # type: ignore[arg-type]
        alarms += int(flagged(tuple(v[left] for v in calm), there).sum())
    before = [float(v) for v in detector.ensemble[k]]
    figures = {
        "benign": len(calm[0]),
        "languages": len(EVERYDAY),
        "flagged_with_the_ensemble": round(float(flagged(calm, before).mean()), 4),
        "flagged": round(float(flagged(calm, coefficients).mean()), 4),
        "flagged_in_a_language_left_out": round(alarms / len(calm[0]), 4),
        "harmful_trained_on": len(chosen),
        "found_with_the_ensemble": round(float(flagged(bad, before).mean()), 4),
        "found": round(float(flagged(bad, coefficients).mean()), 4),
    }
    return {"share": SHARE, "harmful": coefficients}, figures


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--models", default="models")
    args = arg.parse_args()
    path = Path(args.models) / "text_encoder_v1" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    point = config["thresholds"]["harmful"]["0.01"]
    made, figures = fit(Path(args.models), texts.load(texts.data_dir(args.data)), point)
    config["calibration"]["fragmented"] = made
    config["metrics"]["fragmented"] = figures
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(made, json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
