"""The data sets that DAGs hand to one another, each named once.

A scheme of our own: one that Airflow knows would make the parser import every provider.
"""

from airflow.sdk import Asset

SHARED_INVENTORY = Asset(name="shared_inventory", uri="x-clinica://clinica_shared/inventory")
