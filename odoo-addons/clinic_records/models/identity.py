"""Numbers of identity documents: one way to write each, and which are valid."""

import re

from stdnum.es import dni, nie

# https://www.interior.gob.es/opencms/es/servicios-al-ciudadano/tramites-y-gestiones/dni/
_VALID = {"dni": dni.is_valid, "nie": nie.is_valid}


def compact(number):
    """Return a number without spaces and punctuation, in capitals; False if nothing is left."""
    return re.sub(r"[\W_]", "", number or "").upper() or False


def is_valid(kind, number):
    """Tell whether a compact number is valid for its kind; only DNI and NIE have a check letter."""
    return _VALID.get(kind, bool)(number)
