"""Test of `mutants`: each text that is to be changed still stands in its module, exactly once."""

import mutants
import pytest


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=str)
def test_the_text_of_a_mutant_is_in_its_module_once(mutant):
    module = mutants.the_only(mutants.ROOT / "ssdlib", f"{mutant.module}.py").read_text("utf-8")
    assert module.count(mutant.old) == 1 and mutant.old != mutant.new
