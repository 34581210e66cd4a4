# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of Sphinx, with which scripts/test makes the pages of the collection that docs.ansible.com would have."""

project = "flagship.coreos"
extensions = ["sphinx_antsibull_ext"]
html_theme = "alabaster"
nitpicky = True
# These are pages of other sites; a reference to nothing of this collection is an error.
nitpick_ignore_regex = [
    ("std:envvar", r"ANSIBLE_.*"),
    ("std:ref", r"common_return_values|ansible_configuration_settings"),
    ("std:ref", r"ansible_collections\.(?!flagship\.coreos\.).*"),
]
