"""What a method's author gets wrong before a run starts: told in the words of the contract."""

from __future__ import annotations

import pytest
from bench_cli import bench, refused

METHOD = """
from methods.contract import Method, TeacherSpec


class Own(Method):
    def losses(self, batch, step):
        yield {{"t": self.student(batch.source_image).logits.mean()}}

{part}
"""

PARTS = {
    "its Config is another class; expected class Config(Method.Config)": "    class Config: pass",
    "frozen_teachers is no class method; expected @classmethod above it": """
    def frozen_teachers(self, config, student):
        return []""",
    "frozen_teachers gave ['str']; expected a list of TeacherSpec(...)": """
    @classmethod
    def frozen_teachers(cls, config, student):
        return ["test_mit"]""",
    "frozen_teachers gave None; expected a list of TeacherSpec(...)": """
    @classmethod
    def frozen_teachers(cls, config, student):
        pass""",
    "companions gave test_mit; expected a list of CompanionSpec(...)": """
    @classmethod
    def companions(cls, config, student):
        return 'test_mit' """,
}


@pytest.mark.parametrize("said", PARTS)
def test_a_part_that_is_not_as_the_contract_has_it_is_named(said, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(METHOD.format(part=PARTS[said]))
    options = ["--plugin", file, "--method", "own", "--scenario", "gta2cs", "--dry-run"]
    line = refused(bench("run", *options))
    assert said in line
    assert "method" in line
