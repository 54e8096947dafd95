"""A copy of Airflow's database."""

from support.airflow_db import airflow_db  # noqa: F401
