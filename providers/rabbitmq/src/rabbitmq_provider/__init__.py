"""RabbitMQ for Apache Airflow: a hook, a sensor, an operator, and a queue for asset watchers."""

__version__ = "0.1.0"
