"""JSON of others, parsed so that whatever it holds ends in a value or in one reason."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Parse JSON in UTF-8. Raises ValueError, with the reason but not the content, for all that cannot be parsed."""
    try:
        # Of bytes json would guess the encoding, line by line. A line that is cut off would break in the line after it.
        return json.loads((text if isinstance(text, str) else text.decode("utf-8-sig")).rstrip("\r\n"))
    except json.JSONDecodeError as error:
        # A decode error of more than one line names its line as well.
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        what = error.msg.removesuffix(" at")
        raise ValueError(f"broken JSON ({what} at {line}column {error.colno})") from None
    except UnicodeDecodeError:
        raise ValueError("not valid UTF-8") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    except ValueError:
        raise ValueError("a number with too many digits") from None
