from typing import Any

import pytest
from pydantic import Field, ValidationError

from data.config import Config
from data.errors import ConfigError


class Engine(Config):
    power_kw: float = Field(80.0, gt=0)
    cylinders: int = Field(4, ge=1, le=12)


class Chassis(Config):
    engine: Engine = Engine()
    wheels: int = 4


class Car(Config):
    chassis: Chassis = Chassis()
    colour: str = "red"
    owner: str | None = None


def test_leaves_are_complete_and_dotted() -> None:
    assert Car().leaves() == {
        "chassis.engine.power_kw": 80.0,
        "chassis.engine.cylinders": 4,
        "chassis.wheels": 4,
        "colour": "red",
        "owner": None,
    }


def test_leaves_given_back_make_the_same_configuration() -> None:
    car = Car(chassis=Chassis(engine=Engine(power_kw=7.5), wheels=3), owner="Ada")
    assert Car().with_leaves(car.leaves(), "test") == car


def test_with_leaves_replaces_what_is_named_and_nothing_else() -> None:
    car = Car().with_leaves({"chassis.engine.cylinders": 6, "owner": "Ada"}, "--set")
    assert car == Car(chassis=Chassis(engine=Engine(cylinders=6)), owner="Ada")


def test_with_leaves_leaves_the_original_as_it_was() -> None:
    car = Car()
    car.with_leaves({"colour": "blue"}, "--set")
    assert car.colour == "red"


def test_an_unknown_key_names_the_nearest_one_and_where() -> None:
    with pytest.raises(ConfigError) as caught:
        Car.parse({"color": "blue"}, "car.yaml")
    assert str(caught.value) == "car.yaml: color: unknown key 'color'; did you mean 'colour'?"


def test_an_unknown_nested_key_is_compared_with_the_keys_of_its_own_branch() -> None:
    with pytest.raises(ConfigError) as caught:
        Car.parse({"chassis": {"engine": {"cylinder": 2}}}, "car.yaml")
    assert str(caught.value) == ("car.yaml: chassis.engine.cylinder: unknown key 'cylinder'; did you mean 'cylinders'?")


def test_a_key_like_no_other_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'qqqq'; known: chassis, colour, owner"):
        Car.parse({"qqqq": 1}, "car.yaml")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("chassis.engine.power_kv", "chassis.engine.power_kw"),
        ("chassis.wheel", "chassis.wheels"),
        ("engine.power_kw", "chassis.engine.power_kw"),
        ("chassis.engine.power_kw.more", "chassis.engine.power_kw"),  # a leaf is no branch
    ],
)
def test_an_unknown_dotted_path_names_the_nearest_leaf(path: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Car().with_leaves({path: 1}, "--set")
    assert str(caught.value) == f"--set: unknown key '{path}'; did you mean '{nearest}'?"


def test_a_branch_cannot_be_set_as_if_it_were_a_leaf() -> None:
    with pytest.raises(ConfigError, match=r"--set: unknown key 'chassis\.engine'"):
        Car().with_leaves({"chassis.engine": {"cylinders": 2}}, "--set")


def test_each_broken_rule_gets_a_line_with_place_path_rule_and_value() -> None:
    with pytest.raises(ConfigError) as caught:
        Car.parse({"chassis": {"engine": {"cylinders": 13}, "wheels": "many"}}, "car.yaml")
    first, second = str(caught.value).splitlines()
    assert first.startswith("car.yaml: chassis.engine.cylinders: ")
    assert "12" in first
    assert "got 13" in first
    assert second.startswith("car.yaml: chassis.wheels: ")
    assert "got 'many'" in second


def test_a_rule_broken_through_a_dotted_path_is_named_by_that_path() -> None:
    with pytest.raises(ConfigError, match=r"^--set: chassis\.engine\.power_kw: .*greater than 0.*got -1"):
        Car().with_leaves({"chassis.engine.power_kw": -1}, "--set")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(ConfigError, match=r"power_kw: .*finite"):
        Car().with_leaves({"chassis.engine.power_kw": number}, "--set")


@pytest.mark.parametrize("change", [{"colour": "blue"}, {"chassis": Chassis()}])
def test_a_configuration_is_frozen(change: dict[str, Any]) -> None:
    car = Car()
    for name, value in change.items():
        with pytest.raises(ValidationError, match="frozen"):
            setattr(car, name, value)
