"""The site file: what the administrator of a site decides.

`vmbatch.config.model` is the one table of keys. From it come the reading and checking of the site
file, ``docs/site-file.md`` and ``vmbatch config show|check``.
"""

from vmbatch.config.checks import template_file
from vmbatch.config.compiled import choose_profile, compile_site, policy_rules, refresh_policy
from vmbatch.config.load import load_site, site_file
from vmbatch.config.model import Paths, Profile, Rule, Site

__all__ = [
    "Paths",
    "Profile",
    "Rule",
    "Site",
    "choose_profile",
    "compile_site",
    "load_site",
    "policy_rules",
    "refresh_policy",
    "site_file",
    "template_file",
]
