"""Prices by region: the catalogue's, compared with their source, and a table of the user's own."""

import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from gpuslice.catalog import PRICE_REGION, instance_types, versions
from gpuslice.catalog.load import list_prices
from gpuslice.catalog.prices import on_demand, priced_regions, read_price_table, stack_prices
from gpuslice.planner.errors import InputError

# Read off AWS's price list by another way (SkyPilot's catalogue of EC2, version 9, 2026).
ELSEWHERE = {
    ("ap-northeast-1", "g6e.48xlarge"): "43.69912",
    ("ap-northeast-2", "g6e.4xlarge"): "3.69355",
    ("eu-central-1", "g6e.48xlarge"): "37.67612",
    ("eu-north-1", "g6e.4xlarge"): "3.18666",
    ("eu-south-2", "g6e.48xlarge"): "31.75027",
    ("us-east-2", "g6e.48xlarge"): "30.13118",
}
# Sold when the tables were made, and not yet part of the pinned release.
NEWER_THAN_THE_MODULE = {f"g7.{size}xlarge" for size in (2, 4, 8, 12, 24, 48)}


def module_tables() -> dict[str, dict[str, Decimal]]:
    """The price tables of the pinned Karpenter module in the Go module cache, region to type to price."""
    cache = Path(os.environ.get("GOMODCACHE") or Path(os.environ.get("GOPATH") or Path.home() / "go") / "pkg" / "mod")
    folder = cache / f"github.com/aws/karpenter-provider-aws@v{versions.KARPENTER}" / "pkg" / "providers" / "pricing"
    if not folder.is_dir():
        pytest.skip(f"the Go module cache has no Karpenter {versions.KARPENTER}: {folder}")
    text = "".join((folder / f"zz_generated.pricing_{name}.go").read_text() for name in ("aws", "aws_us_gov"))
    sections = re.finditer(r'^\t"([a-z0-9-]+)": \{(.*?)^\t\},', text, re.MULTILINE | re.DOTALL)
    entry = re.compile(r'"([\w.-]+)": ([\d.]+)')
    return {s[1]: {name: Decimal(price) for name, price in entry.findall(s[2])} for s in sections}


def test_the_figures_are_those_of_the_pinned_karpenter():
    tables = module_tables()
    assert tables.keys() == {"us-east-1", "us-gov-east-1", "us-gov-west-1"}
    for region, table in tables.items():
        theirs = {name: price for name, price in table.items() if name in instance_types()}
        ours = dict(on_demand(region).prices)
        assert ours.keys() - theirs.keys() == (NEWER_THAN_THE_MODULE if region == PRICE_REGION else set())
        assert {name: ours[name] for name in theirs} == theirs


def test_figures_match_another_copy_of_the_price_list():
    assert {key: on_demand(key[0]).of(key[1]) for key in ELSEWHERE} == {k: Decimal(p) for k, p in ELSEWHERE.items()}


def test_thirty_regions_have_prices_and_china_has_none():
    assert len(priced_regions()) == 30
    assert not [region for region in priced_regions() if region.startswith("cn-")]


@pytest.mark.parametrize("region", priced_regions())
def test_every_region_is_whole(region):
    table = on_demand(region)
    assert table.region == region
    assert table.prices.keys() <= instance_types().keys()
    assert re.fullmatch(r"2026-\d\d-\d\d", table.date)
    assert "github.com/" in table.source
    for name, price in table.prices.items():
        home = on_demand(PRICE_REGION).of(name)
        assert Decimal("0.9") * home <= price <= Decimal("1.8") * home, name


@pytest.mark.parametrize("region", priced_regions())
def test_a_larger_node_of_a_family_never_costs_less(region):
    """A figure in the wrong row would stand out."""
    families: dict[tuple[str, int], list[tuple[int, Decimal]]] = {}
    for name, price in on_demand(region).prices.items():
        kind = instance_types()[name]
        families.setdefault((name.partition(".")[0], kind.gpu_count), []).append((kind.vcpus, price))
    for sizes in families.values():
        prices = [price for _, price in sorted(sizes)]
        assert prices == sorted(prices)


def test_each_figure_is_there_once():
    lines = (Path(__file__).parents[2] / "gpuslice/catalog/prices.csv").read_text(encoding="utf-8").splitlines()
    keys = [line.rsplit(",", 1)[0] for line in lines]
    assert len(keys) == len(set(keys)) == 1 + sum(len(prices) for prices in list_prices().values())


def test_the_price_of_an_instance_type_is_that_of_us_east_1():
    for name, kind in instance_types().items():
        assert kind.usd_per_hour == on_demand("us-east-1").of(name)


def test_a_table_cannot_be_changed():
    with pytest.raises(TypeError):
        on_demand("us-east-1").prices["g4dn.xlarge"] = Decimal(0)


@pytest.mark.parametrize(("region", "why"), [("cn-north-1", " (AWS lists them in yuan)"), ("eu-west-9", "")])
def test_a_region_without_prices_is_refused_with_the_way_out(region, why):
    with pytest.raises(InputError) as error:
        on_demand(region)
    text = str(error.value)
    assert text.startswith(f"no prices are known for region '{region}'{why}. Allowed: af-south-1, ")
    assert "us-west-2; or a table of your own: CSV with the columns instance_type, usd_per_hour" in text


def test_a_stack_takes_its_regions_prices_else_those_of_us_east_1():
    assert stack_prices("eu-west-1") == on_demand("eu-west-1")
    assert stack_prices("cn-north-1") == on_demand("us-east-1")


def test_prices_are_read_without_the_settings():
    """`gpuslice plan` must not wait for them."""
    code = "import sys, gpuslice.catalog.prices as p; p.on_demand('us-east-1'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "gpuslice.settings", "pulumi"} & set(done.stdout.split())


# --- a table of the user's own ------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """Writes `prices.csv`."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "prices.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path: Path, region: str = "eu-west-1") -> list[str]:
    with pytest.raises(InputError) as error:
        read_price_table(path, region)
    return list(error.value.problems)


def test_a_table_of_ones_own(table):
    found = read_price_table(table("instance_type,usd_per_hour\ng4dn.xlarge,0.40\ng5.xlarge, 0.9\n"), "eu-west-1")
    assert found.prices == {"g4dn.xlarge": Decimal("0.40"), "g5.xlarge": Decimal("0.9")}
    assert (found.region, found.date, found.source) == ("eu-west-1", "", "prices.csv")
    assert found.of("p5.48xlarge") is None


def test_columns_may_stand_in_any_order_and_spelling_and_lines_may_be_empty(table):
    text = "\ufeffUSD_per_hour, Region ,instance_type\r\n0.4,eu-west-1,g4dn.xlarge\r\n\r\n , ,\r\n"
    assert read_price_table(table(text), "eu-west-1").prices == {"g4dn.xlarge": Decimal("0.4")}


def test_rows_of_other_regions_are_left_out(table):
    text = "region,instance_type,usd_per_hour\neu-west-1,g4dn.xlarge,0.4\nus-east-1,g4dn.xlarge,0.3\n"
    path = table(text)
    assert read_price_table(path, "us-east-1").prices == {"g4dn.xlarge": Decimal("0.3")}
    assert refused(path, "ap-south-1") == [
        "prices.csv: has no price for region 'ap-south-1'. It has: eu-west-1, us-east-1"
    ]


def test_a_table_of_all_of_ec2_can_be_given(table):
    text = "instance_type,usd_per_hour\nm5.large,0.096\np3.2xlarge,3.06\ng4dn.xlarge,0.5\n"
    assert read_price_table(table(text), "us-east-1").prices == {"g4dn.xlarge": Decimal("0.5")}
    assert refused(table("instance_type,usd_per_hour\nm5.large,0.096\n")) == [
        "prices.csv: has no price of a GPU type. Allowed: types such as g4dn.xlarge"
    ]


@pytest.mark.parametrize(
    "price",
    ["0", "0.000", "-1", "NaN", "inf", "1000.01", "1e2", "1_0", "$0.5", "", "０.５", "abc", "0.5 USD", "9" * 40],
)
def test_a_price_that_is_none_is_refused_with_its_line(table, price):
    (problem,) = refused(table(f"instance_type,usd_per_hour\ng5.xlarge,1\ng4dn.xlarge,{price}\n"))
    assert problem.startswith("prices.csv:3: usd_per_hour is '")
    assert problem.endswith("Allowed: US dollars per hour: a number above 0, at most 1000, such as 0.526")


def test_the_dearest_price_that_is_believed(table):
    assert read_price_table(table("instance_type,usd_per_hour\np5.48xlarge,1000\n"), "x").of("p5.48xlarge") == 1000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "prices.csv:1: is empty. Allowed: a table of your own"),
        ("\n", "prices.csv:1: is empty. Allowed: a table of your own"),
        ("instance_type\ng4dn.xlarge\n", "prices.csv:1: the column usd_per_hour is missing."),
        (
            "instance_type,usd_per_hour,regoin\n",
            "prices.csv:1: unknown column 'regoin'. Allowed: region, instance_type",
        ),
        ("instance_type,usd_per_hour,usd_per_hour\n", "prices.csv:1: the column usd_per_hour is there twice."),
        ("instance_type,usd_per_hour\n", "prices.csv: has no price for region 'eu-west-1'. It has: no row"),
        ("instance_type,usd_per_hour\ng4dn.xlarge,0,526\n", "prices.csv:2: has 3 cells. Allowed: 2, as in the first"),
        (
            "instance_type,usd_per_hour\ng4dn.xlage,1\n",
            "prices.csv:2: unknown instance type 'g4dn.xlage'. Allowed: an EC2 instance type such as g4dn.xlarge",
        ),
        ("instance_type,usd_per_hour\n,1\n", "prices.csv:2: unknown instance type ''."),
        (
            "instance_type,usd_per_hour\ng5.xlarge,1\ng4dn.xlarge,1\ng5.xlarge,2\n",
            "prices.csv:4: 'g5.xlarge' is there twice, first in line 2.",
        ),
        ("region,instance_type,usd_per_hour\n,g5.xlarge,1\n", "prices.csv:2: the region is empty."),
        ('instance_type,usd_per_hour\n"g5.xlarge,1\n', "prices.csv:2: is not CSV: unexpected end of data."),
        (b"instance_type,usd_per_hour\ng5.xlarge,\xff\n", "prices.csv: is not UTF-8 text (byte 37). Allowed: UTF-8"),
    ],
)
def test_what_is_wrong_with_a_table(table, text, problem):
    (found,) = refused(table(text))
    assert found.startswith(problem)


def test_all_problems_come_in_one_report(table):
    text = "instance_type,usd_per_hour\ng4dn.xlage,0\ng5.xlarge,x\n"
    assert [p.split(": ")[0] for p in refused(table(text))] == ["prices.csv:2", "prices.csv:2", "prices.csv:3"]


def test_files_that_cannot_be_read(tmp_path):
    assert refused(tmp_path / "none.csv") == [f"{tmp_path / 'none.csv'}: cannot be read: No such file or directory"]
    assert "is not a file" in refused(tmp_path)[0]
    assert "is not a file" in refused(Path("/dev/zero"))[0]
    (tmp_path / "large.csv").write_bytes(b"x" * (8 * 1024 * 1024 + 1))
    assert refused(tmp_path / "large.csv")[0].startswith("large.csv: has 8388609 bytes.")
    assert "cannot be read" in refused(Path("a\0b"))[0]
