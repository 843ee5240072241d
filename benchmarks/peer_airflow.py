"""Fan out with Airflow: a DAG that maps a task over the items. A copy of this file lies in Airflow's folder of DAGs."""

import os

from airflow.sdk import dag, task

from benchmarks.peer_task import ask


@dag(schedule=None, catchup=False)
def fan_out():
    @task
    def create_items() -> list[int]:
        return list(range(int(os.environ["FAN_OUT_ITEMS"])))

    @task
    def fun_fact(number: int) -> str:
        return ask(number)

    @task
    def collect(facts) -> int:
        return len(list(facts))

    collect(fun_fact.expand(number=create_items()))


fan_out()
