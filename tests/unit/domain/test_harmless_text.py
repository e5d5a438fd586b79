from __future__ import annotations

import pytest

from modelyard.domain.harmless_text import LONGEST_LINE, hide_passwords, last_lines


def test_the_last_lines_are_kept_without_the_marks_of_a_traceback():
    text = "one\n  File x\n    call()\n    ^^^^^^\nValueError: no\n"
    assert last_lines(text, 4) == "  File x |     call() | ValueError: no"
    assert last_lines("\n", 4) == ""


def test_of_long_lines_the_last_ones_are_kept():
    text = "\n".join(f"{'x' * 600} {number}" for number in range(9))
    assert last_lines(text, 9) == f"{'x' * 600} 8"
    end = last_lines("a\n" + "b" * 9000 + " the reason", 9)
    assert end.startswith("... b")
    assert end.endswith("b the reason")
    assert len(end) < LONGEST_LINE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: 'https://ann:s3@b/c.git' is gone", "fatal: 'https://***@b/c.git' is gone"),
        ("at HTTPS://ghp_1234@b/c", "at HTTPS://***@b/c"),
        ("one http://a:p@ss@b/c, two ftp://a:q@d", "one http://***@b/c, two ftp://***@d"),
        ("ssh://git@b/c stays, ssh://git:s3@b/c not", "ssh://git@b/c stays, ssh://***@b/c not"),
        ("https://b/c@v1 and ann@b.org", "https://b/c@v1 and ann@b.org"),
        ("'https://ann:s/3@b/c', https://ann:s'3@b", "'https://***@b/c', https://***@b"),
        ("https://b:80/c@v1, 'https://b:80','c@d'", "https://b:80/c@v1, 'https://b:80','c@d'"),
        ("https://ann:s/3@q@b/c@v1", "https://***@b/c@v1"),
        ("'https://b/c?token=s3' fails", "'https://b/c?token=***' fails"),
        ("https://b?a=1&Access_Token=s3&b=2", "https://b?a=1&Access_Token=***&b=2"),
        ("https://b?x=1#private_token=s3", "https://b?x=1#private_token=***"),
        ("s3 https://b?X-Amz-Signature=s3", "s3 https://b?X-Amz-Signature=***"),
        ("https://b?tokens=3&page=2, f(x?token=1)", "https://b?tokens=3&page=2, f(x?token=1)"),
        ("https://b/c:v@1 https://[::1]:8/c@v", "https://b/c:v@1 https://[::1]:8/c@v"),
    ],
)
def test_an_address_is_shown_without_who_signs_in_there(text, shown):
    assert hide_passwords(text) == shown
