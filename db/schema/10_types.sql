-- Enum types: those of the founding design, and those that several subjects share.

create type public.subscription_plan_enum as enum ('free', 'starter', 'professional', 'business', 'enterprise');

create type public.subscription_status_enum as enum ('active', 'inactive', 'cancelled', 'past_due', 'trialing');

create type public.user_role_enum as enum ('owner', 'administrador', 'supervisor', 'operador');

create type public.conversation_channel_enum as enum ('whatsapp', 'telegram', 'slack', 'web');

create type public.conversation_status_enum as enum ('active', 'resolved', 'abandoned', 'archived');

create type public.message_type_enum as enum
  ('text', 'image', 'audio', 'video', 'document', 'location', 'contact');

create type public.sender_type_enum as enum ('bot', 'human', 'end_user', 'system');

-- 'unknown': the message may have arrived; 'cancelled': the bot wrote it before an operator took
-- over, and it was not sent.
create type public.message_status_enum as enum
  ('pending', 'sent', 'delivered', 'read', 'failed', 'unknown', 'cancelled');

create type public.processing_status_enum as enum ('pending', 'processing', 'completed', 'failed');

create type public.invitation_status_enum as enum ('pending', 'accepted', 'expired', 'cancelled');

create type public.reaction_type_enum as enum ('thumbs_up', 'thumbs_down', 'helpful', 'not_helpful');

create type public.integration_type_enum as enum
  ('google_docs', 'google_sheets', 'google_calendar', 'google_gmail', 'airtable', 'mysql',
    'postgresql', 'api_webhook');

create type public.auth_type_enum as enum ('api_key', 'oauth2', 'basic_auth', 'bearer_token');

create type public.sync_status_enum as enum ('pending', 'syncing', 'success', 'error');

create type public.integration_log_status_enum as enum ('success', 'error', 'timeout', 'rate_limited');

create type public.audit_action_enum as enum
  ('login', 'logout', 'create', 'read', 'update', 'delete', 'escalate_hitl', 'resolve_hitl',
    'upload_document', 'integration_sync', 'login_denied', 'assign', 'unassign', 'transfer',
    'archive', 'restore', 'export', 'erase', 'denied');
