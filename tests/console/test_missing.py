"""A package that is missing is named, before anything is begun."""

from pathlib import Path

import pytest

from console import demo
from release.errors import Invalid, Unavailable
from release.variants import RECIPES, Recipe
from serving.variants.build import TOOLS, check_tools


def test_a_recipe_whose_tools_are_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe in RECIPES:
        check_tools(recipe)
    monkeypatch.setitem(TOOLS, "openvino-int8", ("torch", "no-such-compiler"))
    with pytest.raises(Invalid, match="no-such-compiler is not installed") as caught:
        check_tools(Recipe.parse("openvino-int8"))
    assert "pip install no-such-compiler" in str(caught.value)


def test_a_demo_without_its_weights_begins_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(demo, "WEIGHTS", "no_such_weights")
    with pytest.raises(Unavailable, match="no-such-weights, which is not installed"):
        demo.play()
    assert not (tmp_path / "home").exists()
