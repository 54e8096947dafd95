"""Alerts: what a person has to know now, said once for each outage."""
