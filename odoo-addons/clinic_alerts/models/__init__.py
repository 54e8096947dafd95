from . import clinic_alert as clinic_alert
from . import ir_model_access as ir_model_access
from . import mail_activity as mail_activity
