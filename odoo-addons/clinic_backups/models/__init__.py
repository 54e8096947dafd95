from . import clinic_backup as clinic_backup
from . import ir_model_access as ir_model_access
