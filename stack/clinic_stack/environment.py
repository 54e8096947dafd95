"""stack.env: what a client needs to attach to the running stack."""

import json
from pathlib import Path

from clinic_stack import backups, odoo, outside, postgres
from clinic_stack.airflow import REALM
from clinic_stack.config import Config
from clinic_stack.credentials import DEMO_LOGINS, Credentials
from clinic_stack.files import shell_variables, write_if_changed


def values(config: Config, credentials: Credentials) -> dict[str, str]:
    """Every address, name and secret; docs: design of the commands, `make up`."""

    def database(role: str, name: str) -> str:
        return postgres.url(config, credentials, role, name)

    amqp = f"{config.host('amqp')}:{config.port('amqp')}"
    return {
        "CLINIC_STATE": str(config.state),
        "CLINIC_CACHE": str(config.cache),
        "CA_FILE": str(config.state / "tls" / "ca.crt"),
        "GATEWAY_URL": config.public_url("farmacia"),
        "ODOO_URL": config.url("odoo"),
        "ODOO_EVENTED_URL": config.url("odoo_evented"),
        "ODOO_PUBLIC_URL": config.public_url("odoo"),
        "ODOO_DB": "odoo",
        "ODOO_LOGIN": "admin",
        "ODOO_PASSWORD": credentials["odoo_admin"],
        "ODOO_API_KEY": credentials.get("odoo_key_admin", ""),
        "ODOO_MOVEMENTS_API_KEY": credentials.get(f"odoo_key_{odoo.MOVEMENTS_LOGIN}", ""),
        "ODOO_FEED_LOGIN": odoo.FEED_LOGIN,
        "ODOO_FEED_API_KEY": credentials.get(f"odoo_key_{odoo.FEED_LOGIN}", ""),
        "ODOO_DOCUMENTS_LOGIN": odoo.DOCUMENTS_LOGIN,
        "ODOO_DOCUMENTS_API_KEY": credentials.get(f"odoo_key_{odoo.DOCUMENTS_LOGIN}", ""),
        "ODOO_BACKUPS_LOGIN": odoo.BACKUPS_LOGIN,
        "ODOO_BACKUPS_API_KEY": credentials.get(f"odoo_key_{odoo.BACKUPS_LOGIN}", ""),
        "ODOO_MASTER_PASSWORD": credentials["odoo_master"],
        "ODOO_DB_URL": database("odoo", "odoo"),
        "ODOO_CONF": str(odoo.conf_file(config)),
        "ODOO_FILESTORE": str(odoo.filestore(config)),
        "BACKUP_IDENTITY_FILE": str(backups.identity_file(config)),
        "AIRFLOW_URL": config.url("airflow"),
        "AIRFLOW_PUBLIC_URL": config.public_url("airflow"),
        "AIRFLOW_DB_URL": database("airflow", "airflow"),
        "CLINIC_AIRFLOW_HOME": str(config.state / "airflow"),
        "AIRFLOW_CI_CLIENT_ID": "airflow-ci",
        "AIRFLOW_CI_CLIENT_SECRET": credentials["keycloak_client_airflow_ci"],
        "INVENTORY_PROGRAMS_CLIENT_ID": "inventory-programs",
        "INVENTORY_PROGRAMS_CLIENT_SECRET": credentials["keycloak_client_inventory_programs"],
        "KEYCLOAK_URL": config.url("keycloak"),
        "KEYCLOAK_PUBLIC_URL": config.public_url("auth"),
        "KEYCLOAK_CONSOLE_URL": config.url("keycloak"),
        "KEYCLOAK_MANAGEMENT_URL": config.url("keycloak_management"),
        "KEYCLOAK_REALM": REALM,
        "KEYCLOAK_ADMIN": "admin",
        "KEYCLOAK_ADMIN_PASSWORD": credentials["keycloak_admin"],
        "KEYCLOAK_AIRFLOW_SECRET": credentials["keycloak_client_airflow"],
        "KEYCLOAK_GATEWAY_SECRET": credentials["keycloak_client_gateway"],
        "KEYCLOAK_ODOO_SECRET": credentials["keycloak_client_odoo"],
        "KEYCLOAK_SYNC_SECRET": credentials["keycloak_client_sync"],
        "AMQP_URL": f"amqp://airflow:{credentials['amqp_airflow']}@{amqp}/%2F",
        "AMQP_ODOO_URL": f"amqp://odoo:{credentials['amqp_odoo']}@{amqp}/%2F",
        "RABBITMQ_MANAGEMENT_URL": config.url("rabbitmq_management"),
        "RABBITMQ_PUBLIC_URL": config.public_url("rabbitmq"),
        "RABBITMQ_ADMIN": "administrator",
        "RABBITMQ_ADMIN_PASSWORD": credentials["amqp_administrator"],
        "RABBITMQ_MONITOR_PASSWORD": credentials["amqp_monitor"],
        "POSTGRES_ADMIN_URL": database(postgres.SUPERUSER, "postgres"),
        "SHARED_DB_URL": database("clinica_owner", "clinica_shared"),
        "SHARED_DB_SYNC_URL": database("clinica_sync", "clinica_shared"),
        "SHARED_DB_API_URL": database("clinica_api", "clinica_shared"),
        "SHARED_DB_READONLY_URL": database("clinica_readonly", "clinica_shared"),
        "INVENTORY_API_URL": config.url("inventory_api"),
        "DASHBOARD_PUBLIC_URL": config.public_url("farmacia"),
        "DRIVE_API_URL": outside.drive_url(config),
        "DRIVE_KEYFILE": str(config.state / "google" / "service_account.json"),
        "DRIVE_SHARED_DRIVE_ID": outside.shared_drive_id(config),
        "DRIVE_EMULATOR_ADMIN_TOKEN": str(outside.drive_settings(config).get("admin_token", "")),
        "WEBDAV_URL": outside.webdav_url(config),
        "WEBDAV_LOGIN": outside.WEBDAV_LOGIN,
        "WEBDAV_PASSWORD": credentials["webdav"],
        "SMTP_URL": f"smtp://{config.host('mail')}:{config.port('mail')}",
        "MAIL_DIRECTORY": str(config.state / "mail"),
        "GATEWAY_PORT": str(config.port("gateway")),
        "GATEWAY_HMAC_SECRET": credentials["gateway_hmac"],
        "CLINIC_DOMAIN": config.domain,
        "DEMO_USERS": json.dumps({login: credentials[f"demo_{login}"] for login in DEMO_LOGINS}),
    }


def write(config: Config, credentials: Credentials) -> Path:
    """Write the file, readable by its owner only."""
    path = config.state / "stack.env"
    write_if_changed(path, shell_variables(values(config, credentials)), 0o600)
    return path
