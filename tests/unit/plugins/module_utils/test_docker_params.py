# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options_process import env_file_entries
from ansible_collections.flagship.coreos.plugins.module_utils.docker_params import check_engine, comparison


@pytest.mark.parametrize(
    ("comparisons", "name", "kind"),
    [
        ({}, "env", "strict"),
        ({"env": "ignore"}, "env", "ignore"),
        ({"env": "ignore"}, "image", "strict"),
        ({"*": "ignore"}, "image", "ignore"),
        ({"*": "ignore", "env": "allow_more_present"}, "env", "allow_more_present"),
    ],
)
def test_comparison(comparisons: dict[str, str], name: str, kind: str) -> None:
    assert comparison({"comparisons": comparisons}, name) == kind


@pytest.mark.parametrize("healthcheck", [None, {"start_interval": None}, {"interval": "5s"}])
def test_old_engines_know_everything_else(healthcheck: dict[str, Any] | None) -> None:
    check_engine({"healthcheck": healthcheck}, "1.41")


def test_old_engines_would_leave_out_the_start_interval() -> None:
    wanted = {"healthcheck": {"start_interval": "1s"}}
    check_engine(wanted, "1.44")
    with pytest.raises(ValueError, match=re.escape("needs Docker 25 (API 1.44), but this engine speaks 1.43")):
        check_engine(wanted, "1.43")


def test_env_file_entries() -> None:
    text = "\n# a note\nA=b=c\n  B= d \nEMPTY=\nC=\x0bx\nA=last\r\n"
    assert env_file_entries(text, "/env") == {"A": "last", "B": " d ", "EMPTY": "", "C": "\x0bx"}


@pytest.mark.parametrize("line", ["ALONE", "=x", "TWO WORDS=x", "export A=b"])
def test_a_line_that_is_no_variable_is_named_and_its_value_is_not(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape("line 2 of env_file /env is not NAME=VALUE")) as caught:
        env_file_entries(f"A=b\n{line}", "/env")
    assert line not in str(caught.value)
