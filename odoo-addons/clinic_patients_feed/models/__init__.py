from . import clinic_change as clinic_change
