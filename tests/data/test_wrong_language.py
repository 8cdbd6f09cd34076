"""Which rows contradict their tag, and which only quote another language."""

from __future__ import annotations

import pytest

from compass.data.cleaning.wrong_language import find_wrong_language
from compass.data.example import Example

RUN = ("el", "th", "cy", "sw", "hi", "ko", "it", "de", "zh", "ru", "ja", "ar")


def wrong(tag: str, prompt: str) -> str:
    """Return why a row is dropped, `` if it stays."""
    found = find_wrong_language([Example("1", prompt, "x", tag)], languages=RUN)
    return found[0][1] if found else ""


STAY = {
    "translate, colon": ("el", "Μετάφρασε: please send me the invoice for the last order before the month ends"),
    "correct": ("th", "ช่วยแก้ประโยคนี้ให้หน่อย: I has been working in this company since five years and enjoy it"),
    "translate, quotes": ("cy", "Cyfieithwch i'r Gymraeg: 'The meeting was moved to Thursday afternoon because the "
                          "hall is not available in the morning.'"),
    "own run without marks": ("cy", "Cyfieithwch i'r Gymraeg y frawddeg hon i mi please send me the invoice for the "
                              "last order before the end of the month and call me"),
    "German quoted in Italian": ("it", "Traduci in italiano: Bitte schicken Sie mir die Rechnung für die letzte "
                                 "Bestellung noch vor dem Ende des Monats"),
    "json": ("sw", 'Tafsiri jibu hili: {"status":"error","message":{"text":"The request could not be completed"},'
             '"details":["missing authorization header"]}'),
    "link": ("hi", "यह लिंक खोलो https://www.example.org/questions/tagged/living-room-lights?page=2&sort=votes"),
    "code": ("de", "Was macht das?\n```python\nfor row in rows:\n    print(row.the_name_of_the_thing, file=out)\n```"),
    "command names": ("ko", "jenkins 종료 (jenkins-cli shutdown the server and wait until all of the jobs are done)"),
    "one word of its script": ("ko", "SpeedCrunch 시작 (speedcrunch)"),
    "names": ("cy", "Ffoniwch Christopher Montgomery, Elizabeth Worthington, Catherine Blackwood"),
    "products": ("it", "Microsoft Visual Studio Code, Google Cloud Storage, Amazon Web Services"),
    "English that quotes Greek": ("en", "Translate into English: Γύρισε το κλειδί και άναψε το φως στην κουζίνα"),
    "English word, Chinese": ("en", "what does 请把客厅的灯关掉然后把门锁上 mean"),
    "short": ("cy", "Turn off"),
    "script stated": ("hi-Latn", "sabhi manushya swatantra paida hote hain aur adhikar mein saman hain"),
    "unknown to the model": ("kw", "All human beings are born free and equal in dignity and rights."),
    "close": ("bs", "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima."),
    "region": ("zh-TW", "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。"),
    "Latin script of Serbian": ("sr", "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima."),
}  # fmt: skip


@pytest.mark.parametrize("kind", STAY)
def test_rows_in_their_language_stay(kind) -> None:
    """Translation, correction and coding prompts would be dropped, the greater part of them in the tag's own script."""
    assert wrong(*STAY[kind]) == ""


GO = {
    "Latin, Latin": ("cy", "All human beings are born free and equal in dignity and rights", "en"),
    "short command": ("it", "Check a specific script for syntax errors", "en"),
    "quotation in the wrong language": ("cy", "Please translate this sentence into Welsh for me: 'Cau y drws'", "en"),
    "no letter of its script": ("ko", "Copy an artifact, that is not built using Maven to the remote repository", "en"),
    "another script": ("en", "请把客厅的灯关掉,然后把门锁上,谢谢。", "zh"),
    "another script, with a command": ("de", "克隆一个现有的代码库，只获取默认分支上最新的提交 (git clone)", "zh"),
    "one script": ("ar", "همه افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند", "fa"),
    "kana": ("zh", "すべての人間は、生まれながらにして自由であり、尊厳と権利とについて平等である", "ja"),
    "outside the run": ("en", "Minden emberi lény szabadon születik és egyenlő méltósága és joga van", "hu"),
}


@pytest.mark.parametrize("kind", GO)
def test_rows_in_another_language_go(kind) -> None:
    """Mistagged rows would teach the wrong language."""
    tag, prompt, other = GO[kind]
    assert wrong(tag, prompt) == f"tagged {tag}, reads as {other}"


def test_tags_of_the_rows_belong_to_the_run() -> None:
    """A short wrong row would stay although a language of the data contradicts it."""
    prompt = "Voeg een container toe"
    assert not find_wrong_language([Example("1", prompt, "x", "it")])
    rows = [Example("1", prompt, "x", "it"), Example("2", "Kloon een nieuwe container", "x", "nl")]
    assert find_wrong_language(rows) == {0: ("wrong language", "tagged it, reads as nl")}
