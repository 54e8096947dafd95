"""What is asked of a person before a restore: Spanish first, then English."""

from __future__ import annotations

from typing import Final

from airflow.sdk import Param
from clinic.backups.model import TARGET

_NEUTRALISE: Final = {
    "when it is a copy": "si es una copia (when it is a copy)",
    "yes": "sí (yes)",
    "no": "no (no)",
}

RESTORE: Final = {
    "backup": Param(
        "",
        type=["null", "string"],  # Airflow's form sends nothing while a plain string is empty
        title="Copia de seguridad (backup)",
        description="Su nombre, o `newest`. Vacío: se pregunta cuál. "
        "(Its name, or `newest`. Empty: you are asked which.)",
    ),
    "target": Param(
        type="string",
        pattern=f"^{TARGET.pattern}$",
        title="Base de datos que se crea (target)",
        description="Si ya existe, antes se pide aprobación. "
        "(Name of the database to make. If it exists, you are asked first.)",
    ),
    "neutralise": Param(
        next(iter(_NEUTRALISE)),
        enum=list(_NEUTRALISE),
        values_display=_NEUTRALISE,
        title="Aislar (neutralise)",
        description="Sin correo, tareas programadas ni conexiones al exterior. "
        "(No mail, no jobs, no outside connections.)",
    ),
}
WHICH: Final = "¿Qué copia de Odoo se restaura? (Which backup of Odoo?)"
REPLACE: Final = "¿Sustituir una base de datos que existe? (Replace a database that is there?)"
