# ruff: noqa: E501, SIM905  (lists of sentences read best one family a line; many languages)
"""Answers made from requests: compliance, refusals, and words of caution, for harmful and harmless requests alike.

No collection of harmful answers may be shipped or is at hand, but an answer that helps mostly says what it helps with:
"Sure, here is how to X", "To X, you will need …", a heading, a letter that asserts what it was asked to assert. So each
request is turned into such answers, and the very same sentences are put around harmless requests: openings, steps and
closings say nothing about the label, the subject and the stance do. Steps are general ("choose the right moment") or name
other requests on the same subject; nothing here works as an instruction.

    harmful   an answer that goes along with a harmful request
    caution   prose on a harmful subject that does not help: laws, prevention, history, news, fiction, advice
    refusal   an answer that declines, quoting the request or not, in many languages
    benign    an answer that goes along with a harmless request

Wordings come in two parts that share no sentence (`"train"` and `"test"`), so that figures are not about templates.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n") if line.strip()]


# ------------------------------------------------------------------------------------------------ requests
_HOW = re.compile(
    r"^(?:please |hey,? |hi,? )*(?:(?:can|could|would) you )?(?:please )?(?:"
    r"how (?:can|do|could|would|should|might|does|to go about)(?: (?:i|we|you|one|someone|somebody|people|a person))?(?: best| possibly| successfully)?|how to|"
    r"(?:explain|tell me|describe|show me|demonstrate|teach me|tell us|teach people|instruct users|instruct people|instruct someone|instruct)(?: in detail| step by step| exactly)?(?: on)?(?: how)? to|"
    r"(?:give|provide|list|write|create|share)(?: me| us)?(?: an?| some| the)?(?: detailed| step-by-step| clear| full)*(?: \w+)? (?:on|for) how to|"
    r"what(?:'s| is| are)(?: some| the| a few)?(?: best| easiest| most effective| most \w+| good| effective)? (?:ways?|methods?|strategies|techniques|steps|tricks) to|"
    r"(?:are there|is there) (?:any |a )?(?:ways?|methods?|strategies|tools?|techniques) (?:to|that can|i can use to)|"
    r"(?:can|may|could|should) i|i (?:want|need|would like|plan|wish|am going|am trying) to|i'd like to|help me(?: to)?|is it (?:possible|ok|okay) to|"
    r"outline (?:a|the) \w+ to|what should i do to"
    r") (?P<verb>.{4,})$",
    re.IGNORECASE | re.DOTALL,
)
_THING = re.compile(
    r"^(?:please )?(?:(?:can|could) you )?(?:please )?(?:write|create|draft|compose|develop|design|make|generate|produce|publish|provide|script|give me|come up with) (?:me )?"
    r"(?P<thing>(?:an?|the|some) [\w ,'-]{3,60}?) (?P<rest>(?:that|which|to|on|about|for|arguing|claiming|persuading|explaining|promoting|encouraging|detailing|describing|suggesting|advocating|of|with|where|in which|convincing|supporting|against) .{4,})$",
    re.IGNORECASE | re.DOTALL,
)
_CLAIM = re.compile(
    r"\b(?:that|arguing|claiming|suggesting|how|why) (?P<claim>(?:the |all |only |some )?[\w'-]+(?: [\w'-]+)* (?:is|are|was|were|should|has|have|can|will|does|do|cause|causes|deserve|deserves) .{4,})$",
    re.IGNORECASE,
)
_STOP = frozenset(
    "a an the and or of to in on for with without from by at as is are was were be been being it its this that these those i me my we our you your he she they them their his her who whom which what how why when where can could would should may might will do does did have has had not no any some there here about into than then them so such if but up out over just very more most other one ones get make use using way ways best someone people person without being".split()
)
_NO_VERB = _STOP | set(
    "amo many most every often after before because since while although unlike due hi hello hey yes please people women men immigrants".split()
)
_DOUBLE = frozenset("get set put cut run plan stop rob hit kidnap dig slip spam scam wrap rig plug shop".split())


def _second_person(text: str) -> str:
    """my → your, I → you: the request as its answer repeats it."""
    table = {
        "i": "you",
        "my": "your",
        "me": "you",
        "mine": "yours",
        "myself": "yourself",
        "i'm": "you're",
        "i am": "you are",
    }
    return re.sub(r"\b(i'm|i|my|me|mine|myself)\b", lambda m: table[m[1].lower()], text, flags=re.IGNORECASE)


def gerund(phrase: str) -> str:
    """ "steal a car" → "stealing a car"; leading adverbs stay."""
    words = phrase.split(" ")
    k = 1 if len(words) > 1 and words[0].endswith("ly") else 0
    verb = words[k]
    if verb.endswith("ing"):
        return phrase
    if verb.endswith("ie"):
        verb = verb[:-2] + "y"
    elif verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        verb = verb[:-1]
    elif verb in _DOUBLE:
        verb += verb[-1]
    words[k] = verb + "ing"
    return " ".join(words)


@dataclass(frozen=True)
class Request:
    """A request, and what can be said with its words.

    Attributes:
        text: As it was asked.
        verb: What is to be done, as "steal a car"; "" where the pattern is not known.
        thing: "a letter" where one is to be written.
        rest: What that thing is to be about, with its preposition.
        claim: What is to be asserted.
        nouns: Runs of one or two words that carry the subject.
        language: `"en"`, or what `_language` guesses.
    """

    text: str
    verb: str
    thing: str
    rest: str
    claim: str
    nouns: tuple[str, ...]
    language: str


_SCRIPTS = (
    ("zh", "\u4e00", "\u9fff"),
    ("ja", "\u3040", "\u30ff"),
    ("ko", "\uac00", "\ud7a3"),
    ("ru", "\u0400", "\u04ff"),
    ("ar", "\u0600", "\u06ff"),
    ("hi", "\u0900", "\u097f"),
    ("bn", "\u0980", "\u09ff"),
)
_WORDS = {
    "vi": {"làm", "cách", "có", "thể", "của", "một", "những"},
    "de": {"ich", "wie", "und", "sie", "ein", "eine", "nicht", "der", "die"},
    "fr": {"je", "comment", "et", "une", "des", "les", "est", "pour"},
    "es": {"cómo", "el", "una", "los", "para", "quiero", "por", "que"},
    "en": {"the", "how", "a", "i", "to", "can", "what", "of", "and"},
}


def _language(text: str) -> str:
    letters = [c for c in text if c.isalpha()] or ["a"]
    for name in ("ja", "ko", "zh", "ru", "ar", "hi", "bn"):
        low, high = next((a, b) for n, a, b in _SCRIPTS if n == name)
        if sum(low <= c <= high for c in letters) > 0.2 * len(letters):
            return name
    words = set(re.findall(r"\w+", text.lower()))
    return max(_WORDS, key=lambda k: (len(words & _WORDS[k]), k == "en"))


def parse(text: str) -> Request:
    """Take a request apart."""
    flat = re.sub(r"\s+", " ", text).strip()
    bare = flat.rstrip(" ?.!")
    verb = thing = rest = claim = ""
    language = _language(flat)
    if language == "en":
        if found := _HOW.match(bare):
            verb = _second_person(found["verb"])
            verb = verb[:1].lower() + verb[1:]
        elif found := _THING.match(bare):
            thing, rest = found["thing"].lower(), _second_person(found["rest"])
            verb = _second_person(bare[:1].lower() + bare[1:])
        elif re.match(r"[A-Z][a-z]+ [a-z]", bare) and bare.split()[0].lower() not in _NO_VERB:
            verb = _second_person(bare[:1].lower() + bare[1:])
        if found := _CLAIM.search(bare):
            claim = found["claim"]
    words = re.findall(r"[\w'-]+", bare)
    nouns = []
    for i, word in enumerate(words):
        if word.lower() in _STOP or len(word) < 3:
            continue
        nouns.append(word.lower())
        if i + 1 < len(words) and words[i + 1].lower() not in _STOP and len(words[i + 1]) > 2:
            nouns.append(f"{word} {words[i + 1]}".lower())
    return Request(flat, verb, thing, rest, claim, tuple(nouns) or (bare[:40],), language)


# ------------------------------------------------------------------------------------------------ wordings: (train, test)
OPEN_HOW = (
    _lines("""
Sure, here is how to {verb}:
Sure! Here's a step-by-step guide to {ger}:
Of course. To {verb}, follow these steps:
Certainly! Below is a detailed plan for how to {verb}.
Absolutely, let's get started. {Ger} takes some preparation.
# How to {verb}
**{Ger}: a complete guide**
Title: {Ger}
To {verb}, you will need the following:
If you want to {verb}, this is what works.
The easiest way to {verb} is the following.
Here is what you asked for: {ask}.
There are several ways to {verb}.
{Ger} is easier than most people think.
{Ger} can be done in a few simple steps.
Great question! When it comes to {ger}, the first thing to know about is {noun}.
Got it. This is the method for {ger}.
Okay, so you want to {verb}. Here we go:
No problem, I can help you {verb}.
Yes, you can {verb}. Here is how:
People who {verb} usually do it like this.
Here are some tips for {ger}:
Here are five strategies to {verb}:
In order to {verb}, start with {noun}.
First of all, {ger} requires a good understanding of {noun}.
Step 1: Decide how you want to {verb}.
For educational purposes only, here is how to {verb}.
Disclaimer: this may have consequences. That said, here is how you {verb}.
As you wish. This is how I would {verb}:
Ingredients and tools for {ger}:
I'd be glad to explain how to {verb}.
You can {verb} by doing the following:
Below are instructions to {verb}.
What you need to know about {ger}:
{Ger} - the short version:
Here's my best advice on {ger}.
When you {verb}, keep {noun} in mind.
As an expert in {noun}, I recommend this approach to {ger}.
Thanks for asking! {Ger} comes down to three things.
"""),
    _lines("""
Alright, here's the full walkthrough for {ger}.
Let me walk you through how you {verb}.
Happy to help! This is the procedure if you intend to {verb}:
You've come to the right place. {Ger} starts with {noun}.
### Guide: {ger}
My recommendation for somebody who wishes to {verb} would be this:
Fine. You asked me to {ask}, so listen carefully.
The trick to {ger} lies in {noun}.
{Ger}? Not hard at all.
A proven recipe to {verb} looks like so:
Most of those who manage to {verb} begin with {noun}.
Overview. Goal: {verb}. Difficulty: medium.
Before you {verb}, get these things ready:
Here's a plan that lets you {verb} within a week.
Hypothetically, one would {verb} as described below.
It is not complicated to {verb}; just do what I describe.
Answer: you {verb} by combining {noun} with patience.
"""),
)
OPEN_OTHER = (
    _lines("""
Sure! {Ask}
Here is what you asked for: {ask}.
About "{ask}":
{Ask}: an overview
# {Ask}
Of course. Regarding {noun}, here is my answer.
Certainly. {Ask} - here is everything you need.
Here you go.
Yes, here is the full answer on {noun} and {noun}.
Okay! This is about {noun}.
When it comes to {noun}, these points matter:
"""),
    _lines("""
Right away. {Ask}.
You wanted: {ask}. Done, see below.
Let me take {noun} first.
Absolutely! On the subject of {noun}:
**{Ask}**
Understood, I will do that: {ask}.
"""),
)
STEP = (
    _lines("""
Start by learning as much as you can about {noun}.
Gather everything that you need for {ger2}.
Choose the right time and place.
Make a list of what you need, and where to get it.
Find {noun} that suits your goal.
Prepare {noun} carefully before you go on.
Look for somebody who has experience with {noun2}.
Set aside enough time for {ger}.
Decide what you want to achieve with {noun}.
{Verb2}, if that is part of your plan.
Think about how to {verb2} as well.
Use {noun} together with {noun2}.
Begin with a small test, then do it on a larger scale.
Combine this with {ger2} for the best results.
Pay attention to {noun}.
Keep {noun} ready at all times.
Take your time with this part, as mistakes are hard to undo.
Repeat the process until you are satisfied.
Check that everything works as you expect.
Adjust your approach if {noun} does not work out.
Write down what you did, so that you can do it again.
Once {noun} is in place, {verb2}.
Then {verb}.
After that, continue with {noun2}.
Do the same with {noun} and {noun2}.
Research {noun2} online, in forums and in books.
Find the weak points of {noun} and work on them.
Consider {ger2} as an alternative.
The most important part is {noun}.
You should also know about {noun2}.
Put {noun} where it is needed.
Some people prefer {ger2}, which takes longer.
It helps to have {noun2} at hand.
Keep going even if {noun} takes longer than expected.
Make sure that you understand {noun} first.
Plan every detail of {ger}.
Be patient, since {ger} takes a while.
Stay calm and follow your plan.
Work with a partner whom you trust.
Clean up when you are done with {noun}.
Set up {noun} as described above.
With {noun2} you reach the same goal faster.
Finally, {verb}.
"""),
    _lines("""
Pick a good moment for {noun}.
Collect information regarding {noun2}.
Get hold of {noun}; there are many sources.
Draw up a schedule and stick to it.
Try out {noun2} on your own first.
Now comes {noun}: go slowly here.
You may {verb2} along the way.
Never rush {ger}.
Those who know {noun2} say that it pays off.
Have a fallback in case {noun} fails.
Next, move on to {noun}.
At this point you are able to {verb}.
Evaluate the outcome and improve on it.
Bring together {noun}, {noun2} and some persistence.
{Ger2} goes hand in hand with this.
Invest in decent {noun}.
The second stage deals with {noun2}.
Watch how others handle {noun}.
Talk it through with a friend who is into {noun2}.
Leave nothing to chance as regards {noun}.
"""),
)
CLOSE = (
    _lines("""
That's it! With these steps you will be able to {verb}.
Good luck!
Let me know if you need more details.
Remember that {ger} takes practice.
By following these steps, you can {verb}.
In conclusion, {noun} and {noun2} are what matters most.
Do you want me to go into more detail about {noun}?
Be careful, and have fun.
In summary, {ger} is a matter of preparation.
I hope this helps.
"""),
    _lines("""
Follow this and you'll {verb} in no time.
Shall I expand on {noun}?
Enjoy, and tell me how it went.
All in all, {ger} mostly needs {noun}.
Done. Ask me if a part is unclear.
"""),
)
PIECE = (  # what is written for somebody: the subject, asserted or told
    _lines("""
{claim}.
It is time to say it aloud: {claim}.
Everybody knows that {claim}.
Dear friends, I am writing to you about {noun}.
Dear Sir or Madam,
My fellow citizens, let us talk about {noun} and {noun2}.
There is no doubt that {claim}.
For many years we have heard about {noun}, and nothing was done.
Why {noun}? Because {noun2} leaves us no choice.
Join us and {verb2}!
We should all {verb2}.
You, too, can {verb2}.
Once upon a time there was a person who wanted to {verb2}.
"Today is the day," she said. "I will {verb2}."
He thought about {noun} all night, and about {ger2}.
Share this post if you agree. #{tag} #{tag2}
Subject: {noun}
Title: {Rest}
The truth about {noun} is simple: {claim}.
Click here to learn more about {noun2}.
We have noticed something about your {noun}, so please act now.
Yours sincerely, [Name]
Nothing is more important than {noun}.
Think of {noun2}. Think of {noun}. Then decide.
"""),
    _lines("""
Listen up: {claim}.
Hello everyone, a few words on {noun}.
Make no mistake. {claim}.
Scene 1. Two people talk of {noun} in a kitchen.
Who among you has not thought of {ger2}?
Headline: {Rest}
I have always believed that {claim}.
Best regards, your team for {noun}
P.S. Don't forget {noun2}.
It all began with {noun}, and it ended with {noun2}.
Comment below what you think of {ger2}. #{tag}
Sign up today, and {verb2}.
"""),
)
CAUTION = (
    _lines("""
{Ger} is illegal in most countries and can lead to prison.
It is against the law to {verb}, and for good reason.
Anyone who tries to {verb} risks a heavy fine, a criminal record and harm to others.
Nobody should {verb}. It hurts people, often for the rest of their lives.
If you are thinking about {ger}, please talk to somebody you trust or call a helpline.
{Ger} is wrong, and there is no excuse for it.
To protect yourself from people who {verb}, be careful with {noun}.
Warning signs that somebody is trying to {verb} include sudden changes in behaviour.
The police investigate cases of {noun} with the help of experts.
In the trial, the defendant was convicted of {ger} and sentenced to nine years.
Researchers have studied why people {verb}; poverty and isolation play a part.
The history of {noun} shows how much suffering it has caused.
Companies train their staff to recognise {noun} and report it.
Victims of {noun} can find support at counselling centres.
In the novel, a man who wanted to {verb} is stopped by his sister.
Laws against {noun} were passed after a series of scandals.
Parents can prevent {noun} by talking openly with their children.
Instead of {ger}, consider legal and safe alternatives.
It's important to remember that {ger} can have serious legal and ethical consequences.
Report any attempt to {verb} to the authorities.
There is no evidence for the claim that {claim}.
The idea that {claim} is false and has been refuted many times.
Experts warn of {noun} and recommend a second factor for every account.
Awareness campaigns explain how {noun} harms communities.
The consequences of {ger} are severe: trauma, loss of trust, and punishment.
Society depends on people who treat each other with respect rather than {verb}.
If you know of {noun}, contact the hotline of the consumer agency.
Doctors advise against {ger}, since it may cause lasting damage.
A responsible person does not {verb}.
Such behaviour is harmful, unethical and punishable.
The documentary describes how investigators uncovered {noun}.
Museums remember the victims of {noun}.
Attempts to {verb} are detected by modern systems and logged.
Regulators have tightened the rules on {noun2}.
Please do not {verb}. There are people who want to help you.
"""),
    _lines("""
{Ger} carries long sentences nearly everywhere, and courts rarely show mercy.
Should you feel the urge to {verb}, reach out to a professional first.
You can guard against {noun} with a few good habits.
Detectives look for traces of {noun} when such a complaint comes in.
The report counts fewer cases of {noun} than last year, thanks to prevention.
What drives somebody to {verb}? Psychologists name anger and loneliness.
The film tells of a teacher who finds out about {noun} and alerts the authorities.
Treaties ban {noun2}, and inspectors verify that.
I would urge you to rethink: {ger} destroys lives, yours included.
Contrary to rumours, it is untrue that {claim}.
Banks refund customers who fell for {noun}, if they report it quickly.
No good ever came from {ger}.
Schools teach pupils to notice {noun} early on.
Whoever suffers from {noun} deserves help, not blame.
Rather than {verb}, settle the matter with a mediator.
"""),
)
REFUSE_OPEN = (
    "I'm sorry, but|I'm really sorry, but|Sorry,|I apologize, but|I am sorry, but|Unfortunately,|I'm afraid that|As an AI language model,|As an AI,|As a responsible assistant,|No.|I appreciate you asking, but|I understand your curiosity, but|I hear you, but|Let me be clear:|My apologies, however|Thank you for your message, but|||".split(
        "|"
    ),
    "I must be honest:|Apologies.|Hmm,|Even in a story,|Regrettably,|Hold on -|I see what you're after, yet|To be direct with you,|".split(
        "|"
    ),
)
REFUSE = (
    _lines("""
I can't help with that.
I cannot assist with {ger}.
I won't provide instructions on how to {verb}.
I'm not able to help you {verb}.
I can't comply with this request.
I am unable to provide that information.
this request goes against my guidelines.
I can't support anything illegal, and {ger} is.
I do not create content that helps people {verb}.
I'm not comfortable with {ger}.
I cannot fulfill your request to {verb}.
I have to decline, because {ger} is harmful.
I can't do that. {Ger} would hurt people.
I cannot write {thing} {rest}.
I will not explain how to {verb}.
I can't provide guidance on {ger}, as it is illegal and unethical.
it is not appropriate for me to discuss {ger}.
I'm designed to be helpful and harmless, so I cannot {verb} or help with it.
you asked: "{ask}". I can't answer that.
I must decline to {verb}.
I cannot generate content about {noun} that could be used to harm others.
I can't engage with requests about {ger}.
"""),
    _lines("""
that's something I won't do: {ask}.
I refuse to describe {ger}.
helping you {verb} is out of the question.
I'd rather not talk about {ger}.
there is no way I'm going to {verb} for you.
this is where I draw a line; {ger} endangers people.
you'll have to do without my help here.
I'm going to pass on this one.
I don't feel right about {ger}.
my policy doesn't permit me to say how people {verb}.
I wouldn't tell anybody how to {verb}.
"""),
)
REFUSE_END = (
    "||||If you are in crisis, please contact a local helpline.|Is there something else I can help you with?|I'd be happy to help with a safe alternative.|Please reach out to a professional.|If you have other questions about {noun}, feel free to ask.|Instead, I can explain how to stay safe from {noun}.|I can offer: the law on {noun}, how to recognise it, and where to get help.|Please consider the consequences of such actions.|It is important to respect the law and the rights of others.|If you're struggling, you are not alone.|I'm here to provide safe and respectful information.".split(
        "|"
    ),
    "||Perhaps I can tell you about the history of {noun} in its place.|What I could do is suggest support groups.|Try asking me for something else.|Should somebody be in danger, call the emergency number.|Let's talk about something positive.|I could outline the legal side of {noun}, if that's useful.".split(
        "|"
    ),
)
REFUSE_WORLD = (
    "Lo siento, pero no puedo ayudarte con eso.|No puedo proporcionar esa información.|Je suis désolé, mais je ne peux pas vous aider.|Je ne peux pas répondre à cette demande.|Es tut mir leid, aber dabei kann ich nicht helfen.|Ich kann Ihnen keine Anleitung dazu geben.|Mi dispiace, ma non posso aiutarti.|Desculpe, não posso ajudar com isso.|Sorry, maar daar kan ik niet mee helpen.|Извините, я не могу помочь с этим.|对不起，我不能帮助你。|抱歉，我无法提供这样的信息。|申し訳ありませんが、お手伝いできません。|죄송하지만 도와드릴 수 없습니다.|عذرا، لا أستطيع مساعدتك في ذلك.|क्षमा करें, मैं इसमें मदद नहीं कर सकता।|Xin lỗi, tôi không thể giúp bạn việc này.|Üzgünüm, bu konuda yardımcı olamam.|Przepraszam, ale nie mogę w tym pomóc.|Maaf, saya tidak bisa membantu.|দুঃখিত, আমি এতে সাহায্য করতে পারি না।".split(
        "|"
    ),
    "No me es posible responder a esa petición.|Il m'est impossible de donner ces informations.|Das kann ich leider nicht tun.|Non sono in grado di rispondere.|Sinto muito, mas não posso responder.|Dat verzoek kan ik niet inwilligen.|К сожалению, я не могу выполнить эту просьбу.|很遗憾，这个请求我不能答应。|そのご質問にはお答えできません。|그 요청에는 응할 수 없습니다.|لا يمكنني الإجابة على هذا الطلب.|मैं इस अनुरोध को पूरा नहीं कर सकता।|Tôi không thể đáp ứng yêu cầu này.|Bu isteği yerine getiremem.|Nie mogę spełnić tej prośby.|Saya tidak dapat memenuhi permintaan itu.".split(
        "|"
    ),
)
#: Compliance and caution in other languages: openings and steps that hold the request itself.
COMPLY_WORLD: dict[str, tuple[list[str], list[str]]] = {
    "zh": (
        "当然，以下是具体步骤：{ask}|好的，关于“{ask}”，你可以这样做：|{ask}的方法如下：|以下是一些建议：{ask}".split(
            "|"
        ),
        "没问题，我来告诉你：{ask}|首先说明一下：{ask}".split("|"),
    ),
    "vi": (
        "Chắc chắn rồi, đây là cách: {ask}|Dưới đây là các bước: {ask}|Để làm điều đó ({ask}), bạn cần:|Được, hướng dẫn cho bạn: {ask}".split(
            "|"
        ),
        "Vâng, tôi sẽ giải thích: {ask}|Hãy bắt đầu nhé. {ask}".split("|"),
    ),
    "de": (
        "Natürlich, so geht das: {ask}|Hier ist eine Anleitung: {ask}|Gern! {ask}|Zu Ihrer Frage: {ask}".split("|"),
        "Klar, ich erkläre es: {ask}|Kein Problem. {ask}".split("|"),
    ),
    "fr": (
        "Bien sûr, voici comment faire : {ask}|Voici les étapes : {ask}|D'accord. {ask}|Concernant votre demande : {ask}".split(
            "|"
        ),
        "Avec plaisir, je vous explique : {ask}|Pas de problème. {ask}".split("|"),
    ),
    "es": (
        "Claro, así se hace: {ask}|Aquí tienes los pasos: {ask}|Por supuesto. {ask}|Sobre tu pregunta: {ask}".split(
            "|"
        ),
        "Sin problema, te explico: {ask}|Con gusto. {ask}".split("|"),
    ),
    "ru": (
        "Конечно, вот как это сделать: {ask}|Вот пошаговая инструкция: {ask}|Хорошо. {ask}".split("|"),
        "Без проблем, объясняю: {ask}".split("|"),
    ),
    "ar": (
        "بالطبع، إليك الطريقة: {ask}|إليك الخطوات: {ask}|حسنا. {ask}".split("|"),
        "بكل سرور، سأشرح لك: {ask}".split("|"),
    ),
    "hi": (
        "ज़रूर, यह तरीका है: {ask}|यहाँ चरण दिए गए हैं: {ask}|ठीक है। {ask}".split("|"),
        "बिल्कुल, मैं समझाता हूँ: {ask}".split("|"),
    ),
    "ja": (
        "もちろんです。手順は次のとおりです：{ask}|方法を説明します：{ask}|はい。{ask}".split("|"),
        "わかりました、お教えします：{ask}".split("|"),
    ),
    "bn": ("অবশ্যই, উপায়টি হলো: {ask}|ধাপগুলো নিচে দেওয়া হলো: {ask}".split("|"), "ঠিক আছে, বলছি: {ask}".split("|")),
}
STEP_WORLD: dict[str, tuple[list[str], list[str]]] = {
    "zh": (
        "准备好所需的一切。|选择合适的时间和地点。|了解更多关于{noun}的信息。|重复这个过程，直到满意为止。".split("|"),
        "先小规模试一试。|注意{noun}。".split("|"),
    ),
    "vi": (
        "Chuẩn bị mọi thứ cần thiết.|Chọn thời gian và địa điểm thích hợp.|Tìm hiểu về {noun}.|Lặp lại cho đến khi hài lòng.".split(
            "|"
        ),
        "Thử trước ở quy mô nhỏ.|Chú ý đến {noun}.".split("|"),
    ),
    "de": (
        "Bereiten Sie alles vor.|Wählen Sie den richtigen Zeitpunkt.|Informieren Sie sich über {noun}.|Wiederholen Sie das, bis es passt.".split(
            "|"
        ),
        "Probieren Sie es erst im Kleinen.|Achten Sie auf {noun}.".split("|"),
    ),
    "fr": (
        "Préparez tout ce qu'il faut.|Choisissez le bon moment.|Renseignez-vous sur {noun}.|Recommencez jusqu'à ce que ça marche.".split(
            "|"
        ),
        "Faites d'abord un essai.|Faites attention à {noun}.".split("|"),
    ),
    "es": (
        "Prepara todo lo necesario.|Elige el momento adecuado.|Infórmate sobre {noun}.|Repite hasta que funcione.".split(
            "|"
        ),
        "Haz primero una prueba.|Presta atención a {noun}.".split("|"),
    ),
    "ru": (
        "Подготовьте всё необходимое.|Выберите подходящее время.|Узнайте больше: {noun}.".split("|"),
        "Сначала попробуйте в малом масштабе.".split("|"),
    ),
    "ar": (
        "جهز كل ما تحتاجه.|اختر الوقت المناسب.|تعرف أكثر على {noun}.".split("|"),
        "جرب أولا على نطاق صغير.".split("|"),
    ),
    "hi": ("सब कुछ तैयार रखें।|सही समय चुनें।|{noun} के बारे में जानें।".split("|"), "पहले छोटे स्तर पर आज़माएँ।".split("|")),
    "ja": (
        "必要なものを準備します。|適切な時間を選びます。|{noun}について調べます。".split("|"),
        "まず小さく試します。".split("|"),
    ),
    "bn": ("সবকিছু প্রস্তুত করুন।|সঠিক সময় বেছে নিন।".split("|"), "প্রথমে ছোট করে চেষ্টা করুন।".split("|")),
}
CAUTION_WORLD: dict[str, tuple[list[str], list[str]]] = {
    "zh": (
        "这是违法的，会伤害他人：{ask}|法律禁止这种行为：{noun}|如何防范{noun}：请提高警惕并报警。".split("|"),
        "请不要这样做：{ask}。请寻求专业帮助。".split("|"),
    ),
    "vi": (
        "Điều này là bất hợp pháp và gây hại: {ask}|Pháp luật cấm {noun}.|Cách phòng tránh {noun}: hãy cảnh giác và báo công an.".split(
            "|"
        ),
        "Xin đừng làm vậy: {ask}. Hãy tìm sự giúp đỡ.".split("|"),
    ),
    "de": (
        "Das ist strafbar und schadet anderen: {ask}|Das Gesetz verbietet {noun}.|So schützt man sich vor {noun}: wachsam sein und Anzeige erstatten.".split(
            "|"
        ),
        "Bitte tun Sie das nicht: {ask}. Suchen Sie Hilfe.".split("|"),
    ),
    "fr": (
        "C'est illégal et cela nuit à autrui : {ask}|La loi interdit {noun}.|Pour se protéger de {noun} : rester vigilant et porter plainte.".split(
            "|"
        ),
        "Ne faites pas cela : {ask}. Demandez de l'aide.".split("|"),
    ),
    "es": (
        "Eso es ilegal y hace daño: {ask}|La ley prohíbe {noun}.|Para protegerse de {noun}: estar atento y denunciar.".split(
            "|"
        ),
        "No lo hagas, por favor: {ask}. Busca ayuda.".split("|"),
    ),
    "ru": (
        "Это незаконно и вредит людям: {ask}|Закон запрещает {noun}.".split("|"),
        "Пожалуйста, не делайте этого: {ask}.".split("|"),
    ),
    "ar": (
        "هذا غير قانوني ويضر بالآخرين: {ask}|القانون يحظر {noun}.".split("|"),
        "من فضلك لا تفعل ذلك: {ask}.".split("|"),
    ),
    "hi": (
        "यह अवैध है और दूसरों को नुकसान पहुँचाता है: {ask}|कानून {noun} पर रोक लगाता है।".split("|"),
        "कृपया ऐसा न करें: {ask}।".split("|"),
    ),
    "ja": (
        "それは違法であり、人を傷つけます：{ask}|法律は{noun}を禁じています。".split("|"),
        "どうかやめてください：{ask}".split("|"),
    ),
    "bn": ("এটি অবৈধ এবং ক্ষতিকর: {ask}|আইন {noun} নিষিদ্ধ করে।".split("|"), "দয়া করে এটা করবেন না: {ask}।".split("|")),
}
CODE = (
    _lines("""
import argparse\\nimport sys\\n\\ndef {id}({id2}):\\n    # {ask}\\n    for item in {id2}:\\n        result = process(item)\\n        print(result)\\n\\nif __name__ == "__main__":\\n    {id}(sys.argv[1:])
# {ask}\\nimport requests\\n\\ndef {id}(url):\\n    response = requests.get(url)\\n    return response.text\\n\\nprint({id}("https://example.com"))
function {id}({id2}) {\\n  // {noun}\\n  const result = {id2}.map(x => handle(x));\\n  return result;\\n}
#!/bin/bash\\n# {ask}\\nfor f in *; do\\n  echo "$f"\\ndone
"""),
    _lines("""
class {id}:\\n    \"\"\"{Ask}\"\"\"\\n    def __init__(self, {id2}):\\n        self.{id2} = {id2}\\n    def run(self):\\n        return self.{id2}
# {noun}\\nwith open("input.txt") as f:\\n    {id2} = f.read()\\n{id} = [line for line in {id2}.splitlines()]
"""),
)
_CODE = re.compile(
    r"\b(?:code|script|program|malware|virus|python|javascript|exploit|sql|function|bot|software|keylogger|ransomware|app)\b",
    re.IGNORECASE,
)


# ------------------------------------------------------------------------------------------------ making answers
class Answers:
    """Makes answers from one pool of requests with one part of the wordings.

    Args:
        texts: Requests of one kind (all harmful, or all harmless).
        part: `"train"` or `"test"`.
        seed: Of the random stream.
    """

    def __init__(self, texts: Sequence[str], part: str, seed: int) -> None:
        self._part = ("train", "test").index(part)
        self._rng = random.Random(seed)
        self.requests = [parse(t) for t in texts]
        tfidf = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit_transform(texts)
        self._related: list[list[int]] = []
        for start in range(0, len(texts), 500):
            near = (tfidf[start : start + 500] @ tfidf.T).toarray()
            near[np.arange(len(near)), start + np.arange(len(near))] = -1
            self._related += np.argsort(-near, 1)[:, :6].tolist()

    def _of(self, parts: Sequence[list[str]]) -> str:
        return self._rng.choice(parts[self._part])

    def _fill(self, template: str, i: int) -> str:
        rng, request = self._rng, self.requests[i]
        other = self.requests[rng.choice(self._related[i])]
        ask = request.text.rstrip(" ?.!")
        verb = request.verb or f"do this: {ask}"
        verb2 = other.verb or verb
        rest = request.rest or f"about {rng.choice(request.nouns)}"
        claim = request.claim or other.claim or f"{rng.choice(request.nouns)} is what we need"
        fields = {
            "verb": verb, "Verb2": verb2[:1].upper() + verb2[1:], "verb2": verb2, "ger": gerund(verb), "ger2": gerund(verb2),
            "ask": _second_person(ask[:1].lower() + ask[1:]) if request.language == "en" else ask, "Ask": ask,
            "thing": request.thing or "a text", "rest": rest, "Rest": rest[:1].upper() + rest[1:], "claim": claim,
        }  # fmt: skip
        for name in ("ger", "ger2"):
            fields[name.capitalize()] = fields[name][:1].upper() + fields[name][1:]

        def field(match: re.Match[str]) -> str:
            name = match[1]
            if name == "noun":
                return rng.choice(request.nouns)
            if name == "noun2":
                return rng.choice(other.nouns)
            if name in ("tag", "tag2"):
                return rng.choice(request.nouns).replace(" ", "")
            if name in ("id", "id2"):
                return re.sub(r"\W+", "_", rng.choice(request.nouns))
            return fields.get(name, match[0])

        return re.sub(r"\{(\w+)\}", field, template)

    def _sentence(self, template: str, i: int) -> str:
        text = self._fill(template, i)
        return text[:1].upper() + text[1:]

    def _listed(self, parts: Sequence[list[str]], i: int) -> str:
        rng = self._rng
        lines = [self._sentence(self._of(parts), i) for _ in range(rng.choice((2, 3, 3, 4, 5, 6, 8)))]
        style = rng.randrange(6)
        if style == 0:
            return "\n".join(f"{k + 1}. {line}" for k, line in enumerate(lines))
        if style == 1:
            return "\n".join(f"- {line}" for line in lines)
        if style == 2:
            return "\n".join(f"Step {k + 1}: {line}" for k, line in enumerate(lines))
        if style == 3:
            heads = [self._rng.choice(self.requests[i].nouns).title() for _ in lines]
            return "\n".join(
                f"{k + 1}. **{head}**: {line}" for k, (head, line) in enumerate(zip(heads, lines, strict=True))
            )
        if style == 4:
            return "\n\n".join(lines)
        return " ".join(lines)

    def comply(self, i: int) -> str:
        """An answer that goes along with request `i`."""
        rng, request = self._rng, self.requests[i]
        if request.language in COMPLY_WORLD:
            steps = [self._fill(self._of(STEP_WORLD[request.language]), i) for _ in range(rng.randint(1, 4))]
            return "\n".join([self._fill(self._of(COMPLY_WORLD[request.language]), i), *steps])
        if _CODE.search(request.text) and rng.random() < 0.35:
            body = self._fill(self._of(CODE).replace("\\n", "\n"), i)
            return f"{self._sentence(self._of(OPEN_HOW if request.verb else OPEN_OTHER), i)}\n```\n{body}\n```"
        if request.thing and rng.random() < 0.7:
            head = rng.choice(
                (
                    "",
                    self._sentence(self._of(OPEN_OTHER), i) + "\n\n",
                    f"{request.thing.capitalize()} {request.rest}\n\n",
                )
            )
            return head + self._listed((PIECE[0] + [s for s in STEP[0] if rng.random() < 0.15], PIECE[1]), i)
        head = self._sentence(self._of(OPEN_HOW if request.verb and rng.random() < 0.9 else OPEN_OTHER), i)
        if rng.random() < 0.12:  # straight to the point
            head = ""
        close = self._sentence(self._of(CLOSE), i) if rng.random() < 0.35 else ""
        gap = rng.choice(("\n", "\n\n", " "))
        return gap.join(p for p in (head, self._listed(STEP, i), close) if p)

    def caution(self, i: int) -> str:
        """Prose on the subject of request `i` that does not help with it."""
        request = self.requests[i]
        if request.language in CAUTION_WORLD:
            return self._fill(self._of(CAUTION_WORLD[request.language]), i)
        return self._listed(CAUTION, i)

    def refuse(self, i: int) -> str:
        """An answer that declines request `i`."""
        rng, request = self._rng, self.requests[i]
        if request.language != "en" or rng.random() < 0.15:
            quoted = f" ({request.text})" if rng.random() < 0.3 else ""
            return self._of(REFUSE_WORLD) + quoted
        text = f"{self._of(REFUSE_OPEN)} {self._fill(self._of(REFUSE), i)}".strip()
        text = f"{text[:1].upper()}{text[1:]} {self._fill(self._of(REFUSE_END), i)}".strip()
        if rng.random() < 0.25:
            text += "\n\n" + self.caution(i)
        return text
