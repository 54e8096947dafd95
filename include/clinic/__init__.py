"""What the clinic does, without Airflow."""
