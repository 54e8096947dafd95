from . import account_move as account_move
from . import clinic_document as clinic_document
from . import clinic_document_notification as clinic_document_notification
from . import clinic_document_source as clinic_document_source
from . import clinic_medical_record as clinic_medical_record
from . import ir_model_access as ir_model_access
from . import res_company as res_company
from . import res_users as res_users
