"""Odoo's addon ``clinic_movements``: books a movement once, by its request id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clinic.clients.odoo import OdooClient, OdooRefusedError
from clinic.errors import PermanentError, TransientError


class OdooMovements:
    """Asks Odoo to book movements.

    Args:
        odoo: A client, as the account that books.
    """

    def __init__(self, odoo: OdooClient) -> None:
        self._odoo = odoo

    def close(self) -> None:
        """Close the connections."""
        self._odoo.close()

    def apply(self, request: Mapping[str, Any]) -> Any:
        """Book a movement, or learn what became of it.

        Raises:
            TransientError: Odoo was out of reach or broken, or does not let us in: a fault of the
                installation, which is no movement's. It may be booked nevertheless.
            OdooRefusedError: Odoo cannot read this request.
        """
        try:
            return self._odoo.call("clinic.movement.request", "apply", request=dict(request))
        except OdooRefusedError:
            raise
        except PermanentError as error:
            raise TransientError(
                f"{error} Until then every movement waits; it is tried again by itself."
            ) from error
