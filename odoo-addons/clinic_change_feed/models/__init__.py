from . import clinic_change as clinic_change
from . import res_company as res_company
