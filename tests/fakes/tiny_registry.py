"""Register tiny models: `python -m tests.fakes.tiny_registry MODEL …`, each with three versions.

Version 1 does not know one label, version 2 knows them all, version 3 as well but takes short texts
only. In a process of its own, for what torch and mlflow leave behind in one.
"""

import sys

from infra.registry import Registry
from infra.settings import Settings
from tests.fakes.suite import keyword_suite
from tests.fakes.tiny_model import LABELS, make_tiny_model

POLICY = """
[suite]
path = "{suite}"
[variants]
build = ["openvino-int8"]
[[gates]]
metric = "accuracy"
at_least = 0.5
[approval]
count = {approvals}
roles = ["release-manager"]
[plan]
steps = [
  {{share = 50, soak_seconds = {soak}, least_requests = 10}},
  {{share = 100, soak_seconds = 0.5, least_requests = 10}},
]
bake_seconds = 0.5
[live]
lease_seconds = {lease}
harm_budget = 0.5
"""


def main(models: list[str]) -> None:
    settings = Settings()
    registry = Registry(settings.registry, settings.artifacts)
    root = settings.root / "made"
    keyword_suite(settings.root / "suite", LABELS)
    make_tiny_model(root / "1", forget=["gamma"])
    make_tiny_model(root / "2")
    make_tiny_model(root / "3", longest_input=16)
    for model in models:
        for version in (1, 2, 3):
            registry.register(model, root / str(version))


if __name__ == "__main__":
    main(sys.argv[1:])
