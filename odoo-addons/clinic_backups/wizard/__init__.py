from . import clinic_backup_request as clinic_backup_request
