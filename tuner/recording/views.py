"""How MLflow's table of runs opens: as training runs, with the columns that tell a search's story.

A view is a tag of the experiment, as MLflow's own button `Save as new view` writes it, and a page's address names it.
"""

import json
from collections.abc import Sequence

from tuner.recording.facts import SearchFacts

SEARCHES = "searches"  # the view of all searches
_VIEW = "mlflow.sharedViewState."
_NAME, _CREATED, _DURATION = "attributes.`Run Name`", "runDateAndNestInfo", "duration"  # MLflow's own columns
_WIDE = {_NAME: 260, "tags.`settings`": 460, "tags.`ending`": 330}
_LEAVES = 12  # columns of settings that a screen can hold
_ABOUT = "A run is a **search**, those below it are its trials. `best_map` is a trial's mAP in its best epoch."


def page(experiment: str, view: str) -> str:
    """Where a view opens, behind a server's address."""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"


def experiment_tags(facts: SearchFacts, at: int) -> dict[str, str]:
    """What the experiment should know of a search that begins.

    Args:
        facts: of the search.
        at: when it begins, ms since 1970.
    """
    return {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": "best_map",
        "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
        "mlflow.note.content": _ABOUT,
        f"{_VIEW}{SEARCHES}": _named(SEARCHES, _searches(), at),
        f"{_VIEW}{facts.search_id}": _trials(facts),
    }


def _searches() -> str:
    shown = ["metrics.`best_map`", "metrics.`default_map`", "metrics.`trials/complete`", "metrics.`trials/stopped`"]
    shown += ["tags.`settings`", "tags.`dataset`"]
    return _state("", "attributes.start_time", shown, ascending=False)


def _trials(facts: SearchFacts) -> str:
    """Its trials, best first. Not among those that MLflow's menu lists: there would be one for each search."""
    best = f"metrics.`best_{facts.objective}`"
    told = [best, "metrics.`best_map`", "metrics.`best_map50`", "metrics.`epoch`", "tags.`ending`"]
    leaves = [f"params.`{leaf}`" for leaf in facts.sampled[:_LEAVES]]
    shown = list(dict.fromkeys([*told, *leaves]))
    return _state(f"tags.search_id = '{facts.search_id}'", best, shown, ascending=not facts.maximise)


def _state(rule: str, order: str, shown: Sequence[str], *, ascending: bool) -> str:
    return json.dumps(
        {
            "searchFilter": rule,
            "orderByKey": order,
            "orderByAsc": ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": shown,
            "columnOrder": [_NAME, *shown, _CREATED, _DURATION],
            "columnWidths": {name: width for name, width in _WIDE.items() if name in (_NAME, *shown)},
        }
    )


def _named(name: str, state: str, at: int) -> str:
    return json.dumps({"name": name, "createdAt": at, "updatedAt": at, "state": state})
