"""The language that a conversation is in, by its user's turns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import regex

from compass.data.identify import identify_languages, scripts_of, supported_languages
from compass.data.languages import UNDETERMINED, same_language
from compass.data.prose import prose, without_code_lines
from compass.data.scripts import letters_by_script, script_of_letter

WORDS_OF_A_SENTENCE = 2
"""Words in a script of its own, from which a text with Latin words among them counts as that script's language [ours].
Terms of a trade are written in Latin letters in many languages; the reverse is a quotation."""
_SHARED = frozenset({"Ethi", "Hebr", "Mymr", "Tibt"})
"""Scripts that languages outside the identification are written in too: Tigrinya, Yiddish, Shan, Tibetan."""
_WORD = regex.compile(r"[\p{L}\p{M}'’-]+")


@lru_cache(maxsize=1024)
def language_of(text: str) -> str:
    """Return the BCP-47 tag of a text's language, `und` where it says too little.

    Code, links and quotations don't count. Where the rest speaks for no language, names are left out, and then words in
    different scripts are looked at by themselves.
    """
    (found,) = identify_languages([text])
    if found != UNDETERMINED:
        return found
    text = without_code_lines(text)
    (found,) = identify_languages([prose(text, names=False)])
    return _by_script(prose(text)) if found == UNDETERMINED else found


def language_of_turns(turns: Sequence[str]) -> str:
    """Return the language of the latest turn that says one; `und` where none does. turns: oldest first."""
    for turn in reversed(turns):
        found = language_of(turn)
        if found != UNDETERMINED:
            return found
    return UNDETERMINED


def served_as(language: str, served: Collection[str]) -> str:
    """Return the tag under which a language is served, `` if it is not. Raises LanguageError for what is no tag."""
    if language in served:
        return language
    return next((tag for tag in sorted(served) if same_language(tag, language)), "")


def _by_script(plain: str) -> str:
    parts: dict[str, list[str]] = {}
    for word in _WORD.findall(plain):
        parts.setdefault(script_of_letter(word[0]) or "Zzzz", []).append(word)
    if not parts:
        return UNDETERMINED
    tags = identify_languages([" ".join(words) for words in parts.values()])
    found = dict(zip(parts, tags, strict=True))
    for script, language in _languages_alone_in_their_script().items():
        if len(parts.get(script, ())) >= WORDS_OF_A_SENTENCE:
            found[script] = language
    letters = letters_by_script(plain)
    by_letters = sorted(found, key=lambda script: (-letters[script], script))
    own = [script for script in by_letters if script != "Latn" and len(parts[script]) >= WORDS_OF_A_SENTENCE]
    return found[(own or by_letters)[0]]


@lru_cache(maxsize=1)
def _languages_alone_in_their_script() -> Mapping[str, str]:
    """Return script -> language for the scripts that only one language of the identification is written in."""
    users: dict[str, list[str]] = {}
    for language in supported_languages():
        for script in scripts_of(language):
            users.setdefault(script, []).append(language)
    return {
        script: languages[0] for script, languages in users.items() if len(languages) == 1 and script not in _SHARED
    }
