"""The settings as a whole: defaults, strictness at every depth, the JSON Schema."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, ValidationError
from stackdata import GOOD, PREFIX, problems_of

from gpuslice import settings as models
from gpuslice.catalog import versions
from gpuslice.load import load_settings
from gpuslice.problems import Problem, SettingsError, shown
from gpuslice.project import stack_name
from gpuslice.schema import stack_schema

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "schema" / "pulumi-stack.schema.json"
ONE_POOL = [{"name": "t4", "instanceTypes": ["g4dn.xlarge"], "sharing": {"mode": "time-slicing", "replicas": 4}}]
FREE_MAPS = ("labels", "tags", "layout", "quota", "values")
"""Maps whose keys the user chooses."""


def model_maps(value, path=""):
    """Every map of the good settings that has a model: its path and itself."""
    if isinstance(value, dict):
        if path:
            yield path, value
        for key, below in value.items():
            if key not in FREE_MAPS:
                yield from model_maps(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from model_maps(below, f"{path}[{index}]")


def edited(path, edit):
    """The good settings with the map at `path` changed by `edit`."""
    data = copy.deepcopy(GOOD)
    edit(dict(model_maps(data))[path])
    return {PREFIX + key: value for key, value in data.items()}


MAPS = {path: list(value) for path, value in model_maps(GOOD)}
KEYS = [(path, key) for path, keys in MAPS.items() for key in keys if len(key) > 3]


def test_the_good_settings_have_every_model():
    """So that the tests below go to every depth. ExistingVpc and Kubeconfig belong to other kinds of cluster."""
    everything = load_settings({PREFIX + key: value for key, value in GOOD.items()}, "prod")
    seen = {type(everything)}

    def visit(value):
        if isinstance(value, BaseModel):
            seen.add(type(value))
            for name in type(value).model_fields:
                visit(getattr(value, name))
        elif isinstance(value, tuple):
            for entry in value:
                visit(entry)

    visit(everything)
    known = {m for m in vars(models).values() if isinstance(m, type) and issubclass(m, models.Model)}
    absent = {models.Model, models.Replicated, models.Mps, models.ExistingVpc, models.Kubeconfig}
    assert known - seen == absent


@pytest.mark.parametrize("path", MAPS)
def test_an_unknown_key_is_refused_at_every_depth(path):
    found = problems_of(edited(path, lambda here: here.update({"zzz": 1})))
    assert [(p.path, p.message, p.value) for p in found] == [(f"{PREFIX}{path}.zzz", "unknown key", "1")]
    assert set(MAPS[path]) <= set(found[0].allowed.split(", "))


@pytest.mark.parametrize(("path", "key"), KEYS, ids=[f"{path}.{key}" for path, key in KEYS])
def test_a_misspelt_key_is_one_line_with_the_right_spelling(path, key):
    misspelt = key[:-2] + key[-1] + key[-2] if key[-1] != key[-2] else key[:-1]
    found = [
        p
        for p in problems_of(edited(path, lambda here: here.update({misspelt: here.pop(key)})))
        if p.path.startswith(f"{PREFIX}{path}")
    ]
    assert (f"{PREFIX}{path}.{misspelt}", "unknown key", key) in [(p.path, p.message, p.suggestion) for p in found]
    assert not any(p.path == f"{PREFIX}{path}.{key}" and p.message == "is missing" for p in found)


CAMEL = [(path, key) for path, key in KEYS if key.lower() != key]


@pytest.mark.parametrize(("path", "key"), CAMEL, ids=[f"{path}.{key}" for path, key in CAMEL])
def test_a_key_in_snake_case_is_refused(path, key):
    snake = "".join("_" + c.lower() if c.isupper() else c for c in key)
    found = problems_of(edited(path, lambda here: here.update({snake: here.pop(key)})))
    assert (f"{PREFIX}{path}.{snake}", key) in [(p.path, p.suggestion) for p in found]


def test_pools_alone_make_a_stack():
    loaded = load_settings({f"{PREFIX}pools": ONE_POOL}, "dev")
    assert loaded.region == "us-east-1"
    assert loaded.cluster.name == "gpu-dev"
    assert loaded.cluster.kubernetes_version == versions.KUBERNETES
    assert loaded.pools[0].ami == versions.DEFAULT_AMI
    assert loaded.karpenter.version == versions.KARPENTER
    assert loaded.gpu_operator.version == versions.GPU_OPERATOR
    assert loaded.verification is None


def test_defaults_are_safe():
    loaded = load_settings({f"{PREFIX}pools": ONE_POOL}, "dev")
    assert loaded.cluster.endpoint.private
    assert not loaded.cluster.endpoint.public
    assert loaded.cluster.deletion_protection
    assert loaded.cluster.system_nodes.count >= 2
    sharing = loaded.pools[0].sharing
    assert (sharing.rename, sharing.min_memory, sharing.max_replicas) == (True, "1Gi", 16)
    disruption = loaded.pools[0].disruption
    assert (disruption.consolidation_policy, disruption.consolidate_after) == ("WhenEmpty", "10m")


def test_settings_do_not_change():
    loaded = load_settings({f"{PREFIX}pools": ONE_POOL}, "dev")
    with pytest.raises(ValidationError, match="frozen"):
        loaded.region = "eu-west-1"


def test_the_configuration_is_not_touched():
    config = {PREFIX + key: value for key, value in copy.deepcopy(GOOD).items()}
    before = copy.deepcopy(config)
    load_settings(config, "prod")
    assert config == before


def test_region_and_stack_come_from_outside():
    loaded = load_settings({f"{PREFIX}pools": ONE_POOL, "aws:region": "eu-west-1"}, "blue")
    assert (loaded.region, loaded.stack, loaded.cluster.name) == ("eu-west-1", "blue", "gpu-blue")


class TestProblems:
    def test_a_line_says_where_what_and_what_is_allowed(self):
        problem = Problem("a.b", "3", "is too small", "4 to 8", "4")
        assert str(problem) == "a.b: is too small (got 3). Allowed: 4 to 8. Did you mean 4?"
        assert str(Problem("a.b", "", "is missing")) == "a.b: is missing."

    def test_each_problem_is_reported_once_in_the_order_of_its_path(self):
        first, second = Problem("p[2]", "", "x"), Problem("p[10]", "", "x")
        assert SettingsError([second, first, second]).problems == (first, second)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("x" * 100, '"' + "x" * 76 + "..."),
            ("x" * 78, '"' + "x" * 78 + '"'),
            ("a\nb\u202e", '"a\\nb\\u202e"'),
            ({"a": {"password": "x", "b": 1}}, '{"a": {"password": "[secret]", "b": 1}}'),
            ([{"API-Key": "x"}], '[{"API-Key": "[secret]"}]'),
            ({"x": {"secure": "y"}}, '{"x": "[secret]"}'),
            (True, "true"),
            (None, "null"),
        ],
    )
    def test_values_are_shown_short_and_without_secrets(self, value, text):
        assert shown(value) == text

    @pytest.mark.parametrize("path", ["a.token", "a.dbPassword.x", "a[0].client_secret", 'a["api-key"]', "a.secure"])
    def test_a_value_at_a_secret_path_is_not_shown(self, path):
        assert shown("x", path) == "[secret]"


class TestSchema:
    VALIDATOR = jsonschema.Draft202012Validator(stack_schema())

    def test_it_is_a_schema_and_always_the_same(self):
        jsonschema.Draft202012Validator.check_schema(stack_schema())
        assert json.dumps(stack_schema()) == json.dumps(stack_schema())

    def test_the_file_is_up_to_date(self):
        expected = json.dumps(stack_schema(), indent=2, ensure_ascii=False) + "\n"
        assert SCHEMA_FILE.read_text(encoding="utf-8") == expected, (
            "run: gpuslice schema -o schema/pulumi-stack.schema.json"
        )

    @pytest.mark.parametrize("path", sorted(ROOT.glob("Pulumi.*.yaml")), ids=lambda p: p.name)
    def test_the_stacks_of_the_project_keep_it(self, path):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert [e.message for e in self.VALIDATOR.iter_errors(document)] == []
        assert problems_of(document["config"], stack_name(path)) == ()

    def errors(self, config):
        return list(self.VALIDATOR.iter_errors({"config": config}))

    def test_the_good_settings_keep_it(self):
        assert self.errors({PREFIX + key: value for key, value in GOOD.items()}) == []
        assert self.errors({f"{PREFIX}pools": ONE_POOL, "aws:profile": "x", "other:key": [1]}) == []

    @pytest.mark.parametrize("path", MAPS)
    def test_it_refuses_unknown_keys_at_every_depth(self, path):
        assert self.errors(edited(path, lambda here: here.update({"zzz": 1})))

    @pytest.mark.parametrize(
        "config",
        [
            {},
            {f"{PREFIX}pools": []},
            {f"{PREFIX}pools": ONE_POOL, f"{PREFIX}clutser": {}},
            {f"{PREFIX}pools": [ONE_POOL[0] | {"instanceTypes": ["m7i.large"]}]},
            {f"{PREFIX}pools": [ONE_POOL[0] | {"sharing": {"mode": "time-slicing", "replicas": 49}}]},
            {f"{PREFIX}pools": [ONE_POOL[0] | {"sharing": {"mode": "mig", "replicas": 4}}]},
            {f"{PREFIX}pools": [ONE_POOL[0] | {"ami": "al2@v20260915"}]},
            {f"{PREFIX}pools": [ONE_POOL[0] | {"capacityReservations": None}]},
            {f"{PREFIX}pools": ONE_POOL, f"{PREFIX}cluster": {"kubernetesVersion": 1.35}},
            {f"{PREFIX}pools": ONE_POOL, "aws:region": "useast"},
        ],
    )
    def test_it_refuses_what_one_value_may_not_be(self, config):
        assert self.errors(config)

    def test_it_offers_the_catalogue(self):
        types = stack_schema()["$defs"]["PoolSettings"]["properties"]["instanceTypes"]["items"]["enum"]
        assert "g4dn.xlarge" in types
        assert len(types) == 65

    def test_the_name_of_the_cluster_may_be_left_out(self):
        assert self.errors({f"{PREFIX}pools": ONE_POOL, f"{PREFIX}cluster": {}}) == []
