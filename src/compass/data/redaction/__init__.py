"""Replace private data in texts by what kind it was of: `[EMAIL]`, `[PHONE]`, `[IBAN]`.

Rules alone, nothing is downloaded: checksums of python-stdnum, numbering plans of libphonenumber, the standard
library's IP addresses, prefixes of keys and tokens. What has no checksum, or one that a tenth of all numbers meet, is
private only with a word beside it that says so (`context`). Names of people and street addresses are not found: no rule
can, in 139 languages. Precision and recall: `benchmarks/redaction.py` on `tests/data/redaction.jsonl`.
"""

from __future__ import annotations

from compass.data.redaction.apply import check_installed, redact, redact_example

__all__ = ["check_installed", "redact", "redact_example"]
