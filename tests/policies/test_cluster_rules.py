"""What the cases cannot say of the rules on clusters: resources without options, and the bounds of theirs."""

import dataclasses

import pytest
from base import resources_of

from policies.config import ConfigError
from policies.judge import Judge
from policies.rules.cluster import RULES

PUBLIC = "eks-endpoint-not-public-to-all"


def test_a_cluster_whose_resource_options_nobody_knows_is_not_asked_for_them():
    resources = [dataclasses.replace(r, options=None) for r in resources_of()]
    assert Judge(RULES).all(resources) == []


@pytest.mark.parametrize(("option", "most"), [("ipv4Prefix", 32), ("ipv6Prefix", 128)])
def test_a_prefix_is_one_of_its_protocol(option, most):
    for allowed in (1, most):
        Judge(RULES, {PUBLIC: {option: allowed}})
    for refused in (0, most + 1):
        with pytest.raises(ConfigError, match=f"{PUBLIC}.{option}: {refused} is not allowed"):
            Judge(RULES, {PUBLIC: {option: refused}})
