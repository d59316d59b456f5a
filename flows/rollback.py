"""Lead a model back to what served before."""

from prefect import flow

from tasks.reconcile import call_back, show


@flow(name="rollback", flow_run_name="rollback {model}", persist_result=False)
def rollback(model: str, why: str) -> str:
    """Roll a model back in this process's own name, then show it in the registry.

    A person rolls back with `slipway rollback`, which needs no flow.
    """
    sentence = call_back(model, why)
    show(model)
    return sentence
