"""A request's body is passed on byte for byte, but for what the gateway sets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.serve.body import read_body

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_all_but_the_field_stays_as_it_came() -> None:
    """Numbers, escapes, spaces and unknown fields would reach the model server in another form."""
    raw = b'{ "model" :"auto","temperature":1.0e0, "x":[1,\t{"model":"y"}],"s":"\\u00e9\\ud800" , "n":1234567890123456}'
    assert read_body(raw).with_fields(model="cy@3") == raw.replace(b'"auto"', b'"cy@3"')


def test_a_missing_field_is_added() -> None:
    """A request without a model would be refused by the model server."""
    assert json.loads(read_body(b'{"prompt": "x"}').with_fields(model="cy@3")) == {"prompt": "x", "model": "cy@3"}
    assert read_body(b" {} ").with_fields(model="é") == ' {"model": "é"} '.encode()


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_agrees_with_json(content: dict[str, object], compact: bool) -> None:
    """Another reading of the body than the model server's would route by what it does not see."""
    raw = json.dumps(content, ensure_ascii=compact, indent=None if compact else 2).encode("utf-8", "replace")
    body = read_body(raw)
    assert dict(body.values) == json.loads(raw)
    assert json.loads(body.with_fields(model="m")) == {**json.loads(raw), "model": "m"}


def test_of_a_field_that_is_there_twice_the_last_counts() -> None:
    """A client could be routed by one model and answered by another."""
    body = read_body(b'{"model": "a", "model": "b"}')
    assert body.values["model"] == "b"
    assert json.loads(body.with_fields(model="c"))["model"] == "c"


@pytest.mark.parametrize(
    "raw",
    [b"", b" ", b"[]", b"1", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,}', b'{"a" 1}', b"{'a': 1}", b'{"a":1} x',
     b"\xff{}", b'{"a":' + b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}", b'{"a":1 "b":2}'],
)  # fmt: skip
def test_what_is_no_object_is_a_value_error(raw: bytes) -> None:
    """A broken body would be a traceback and an answer 500."""
    with pytest.raises(ValueError, match="body"):
        read_body(raw)
