from . import clinic_change as clinic_change
from . import ir_model_access as ir_model_access
from . import res_company as res_company
