"""Keys, tokens and passwords, by their prefixes or the word that assigns them."""

from __future__ import annotations

from collections.abc import Iterator

import regex

from compass.data.redaction.spans import Scanned, Span

_START, _TOKEN = r"(?<![A-Za-z0-9_])", r"[A-Za-z0-9_-]"
_PREFIXED = regex.compile(
    _START
    + "(?:"
    + "|".join(
        (
            rf"sk-{_TOKEN}{{16,}}",  # OpenAI, Anthropic and those who copy them
            r"[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}",  # Stripe
            r"whsec_[A-Za-z0-9+/=]{16,}",
            r"gh[opusr]_[A-Za-z0-9]{16,}",
            r"github_pat_\w{20,}",
            rf"gl(?:pat|ptt|rt|dt)-{_TOKEN}{{16,}}",
            r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}",  # AWS
            r"xox[a-z]-[A-Za-z0-9-]{8,}",
            r"xapp-[A-Za-z0-9-]{8,}",
            rf"AIza{_TOKEN}{{30,}}",
            rf"ya29\.{_TOKEN}{{16,}}",
            rf"GOCSPX-{_TOKEN}{{16,}}",
            r"hf_[A-Za-z0-9]{16,}",
            r"npm_[A-Za-z0-9]{20,}",
            rf"pypi-{_TOKEN}{{16,}}",
            rf"SG\.{_TOKEN}{{16,}}\.{_TOKEN}{{16,}}",
            r"do[opr]_v1_[0-9a-f]{16,}",
            r"dckr_pat_[\w-]{16,}",
            r"sq0[a-z]{3}-[\w-]{16,}",
            r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{16,}",
            r"key-[0-9a-f]{32}",
            r"(?:SK|AC)[0-9a-f]{32}",  # Twilio
            rf"\d{{8,10}}:AA{_TOKEN}{{30,}}",  # Telegram
            rf"eyJ{_TOKEN}{{6,}}\.{_TOKEN}{{6,}}(?:\.{_TOKEN}*)?",  # JWT
            r"AGE-SECRET-KEY-[A-Z0-9]{16,}",
            r"hooks\.slack\.com/services/[\w/]+",
            r"discord(?:app)?\.com/api/webhooks/[\w/-]+",
        )
    )
    + ")"
)
_PEM = regex.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)", regex.DOTALL
)
_URL = regex.compile(r"(?<=://)[^\s/@:<>\"']*:[^\s/@<>\"']+(?=@)|(?<=://)[^\s/@:<>\"']{8,}(?=@)")
"""User and password in a URL."""
_USER = regex.compile(r"(?<=(?:^|\s)(?:-u|--user)[ =][\"']?)[\w.@+-]+:(?!//)[^\s\"']{4,}")
"""User and password of `curl -u`."""
_ASSIGNED = regex.compile(
    r"(?i)(?<![\p{L}])(?:pass(?:word|wd|phrase|code)?|pwd|secret|secret[_ -]?key|(?:api|access|auth|private|account|"
    r"client)[_ -]?(?:key|token|secret)|token|bearer|pin|contrase[ñn]a|clave|mot de passe|mdp|passwort|kennwort|senha|"
    r"parola d'ordine|has[lł]o|wachtwoord|пароль|κωδικ[όο]ς?|पासवर्ड|密码|密碼|口令|パスワード|비밀번호|암호|"
    r"كلمة المرور|סיסמה|secretaccesskey|accountkey|aws_secret_access_key|cyfrinair|(?:[şs]ifre|parola)\p{L}{0,4}|"
    r"l[öo]senord(?:et)?|adgangskode|passord(?:et)?|salasana\p{L}{0,3}|heslo|jelsz[óo]\p{L}{0,3}|parol[ăaė]\p{L}{0,2}|"
    r"kata sandi|mật khẩu|รหัสผ่าน|пароля|парола\p{L}{0,2}|رمز عبور)[\"'`]?"
    r"(?:\s*(?:[:=：＝]|=>)\s*|\s+(?:is|es|est|ist|è|é|to|auf|a|in|है|är|er|on|je|jest|este|adalah|là|คือ|lautet)\s*:?\s+|"
    r"\s*(?:是|为|為|は|が)\s*:?\s*|\s?(?:는|은|가|이)\s+|(?<=bearer)\s+|(?P<bare>\s+))[\"'`“«「『]?"
    r"(?P<value>[^\s\"'`“”«»,;，。」』]{4,})"
)
_ENDING = regex.compile(r"(?<=[ -~])[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}].*")
"""What follows a value without a space, in scripts that have none."""
_CALL = regex.compile(r"[A-Za-z_][\w.]*[\[(]")
"""A value that is looked up: `os.environ[...`."""


def find_secrets(scanned: Scanned) -> Iterator[Span]:
    """Yield keys, tokens, passwords, and user and password of URLs."""
    for pattern in (_PEM, _PREFIXED, _URL, _USER):
        for match in pattern.finditer(scanned.plain):
            yield match.start(), match.end(), "SECRET"
    for match in _ASSIGNED.finditer(scanned.plain):
        value = _ENDING.sub("", match["value"]).rstrip(".?)]}")
        if _is_secret(value, bare=bool(match["bare"])):
            yield match.start("value"), match.start("value") + len(value), "SECRET"


def _is_secret(value: str, *, bare: bool = False) -> bool:
    """Say whether what is assigned looks like a password: digits or signs among letters, no number or word.

    bare: nothing but a space stands between the word and the value, which then has letters, digits and signs.
    """
    digits = any(character.isdigit() for character in value)
    letters = any(character.isalpha() for character in value)
    signs = any(not character.isalnum() and character not in "_-./()<>{}$%" for character in value)
    if bare:
        return len(value) >= 6 and digits and letters and any(sign in value for sign in "!@#$%^&*+=?~")
    enough = letters and (digits or signs)
    return len(value) >= 6 and enough and not _CALL.match(value)
