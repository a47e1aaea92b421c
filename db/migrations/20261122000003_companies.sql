-- migrate:up
-- Companies, their people, their bots and the channels that these are reached by.
set local role neurant_owner;

create type public.subscription_plan_enum as enum ('free', 'starter', 'professional', 'business', 'enterprise');
create type public.subscription_status_enum as enum ('active', 'inactive', 'cancelled', 'past_due', 'trialing');
create type public.user_role_enum as enum ('owner', 'administrador', 'supervisor', 'operador');
create type public.conversation_channel_enum as enum ('whatsapp', 'telegram', 'slack', 'web');

create function private.is_timezone(p_name text) returns boolean
language plpgsql immutable set search_path = '' as $$
begin
  perform pg_catalog.timezone(p_name, timestamptz '2000-01-01 00:00:00+00');
  return true;
exception when invalid_parameter_value then
  return false;
end $$;
-- A check constraint calls its functions as whoever writes the row.
grant execute on function private.is_timezone(text)
  to neurant_router, neurant_worker, authenticated;

create function private.set_updated_at() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end $$;

create table public.companies (
  id uuid primary key default uuidv7(),
  name varchar(255) not null check (btrim(name) <> ''),
  slug varchar(100) not null unique check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  phone varchar(50),
  industry varchar(100),
  website varchar(255),
  logo_url text,
  timezone varchar(50) not null default 'America/Bogota' check (private.is_timezone(timezone)),
  subscription_plan public.subscription_plan_enum not null default 'free',
  subscription_status public.subscription_status_enum not null default 'active',
  subscription_started_at timestamptz,
  subscription_ends_at timestamptz,
  monthly_message_limit integer not null default 500 check (monthly_message_limit >= -1),
  monthly_message_count integer not null default 0 check (monthly_message_count >= 0),
  monthly_reset_date date not null default current_date,
  max_chatbots integer not null default 1 check (max_chatbots >= -1),
  max_users integer not null default 2 check (max_users >= -1),
  max_integrations integer not null default 0 check (max_integrations >= -1),
  max_document_characters integer not null default 0 check (max_document_characters >= -1),
  max_storage_mb integer not null default 0 check (max_storage_mb >= -1),
  max_hitl_concurrent integer not null default 0 check (max_hitl_concurrent >= -1),
  current_user_count integer not null default 0 check (current_user_count >= 0),
  current_chatbot_count integer not null default 0 check (current_chatbot_count >= 0),
  current_integration_count integer not null default 0 check (current_integration_count >= 0),
  plan_changed_at timestamptz,
  plan_change_scheduled_at timestamptz,
  next_plan public.subscription_plan_enum,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid references auth.users (id) on delete set null
);
create index companies_created_by_idx on public.companies (created_by);

create table public.users (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  auth_user_id uuid references auth.users (id) on delete set null,
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  avatar_url text,
  phone varchar(50),
  role public.user_role_enum not null default 'operador',
  is_owner boolean not null default false,
  permissions jsonb not null default '{}' check (jsonb_typeof(permissions) = 'object'),
  is_active boolean not null default true,
  invited_by uuid,
  invited_at timestamptz,
  accepted_invitation_at timestamptz,
  last_login_at timestamptz,
  last_seen_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid,
  primary key (company_id, id),
  unique (company_id, email),
  unique (company_id, auth_user_id),
  foreign key (company_id, invited_by) references public.users (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  check (is_owner = (role = 'owner'))
);
create unique index users_one_owner_key on public.users (company_id) where is_owner;
create index users_auth_user_idx on public.users (auth_user_id);
create index users_invited_by_idx on public.users (company_id, invited_by);
create index users_created_by_idx on public.users (company_id, created_by);

create table public.chatbots (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(255) not null check (btrim(name) <> ''),
  description text,
  avatar_url text,
  system_prompt text not null,
  personality_traits jsonb default '{}',
  response_delay_ms integer default 1000 check (response_delay_ms between 0 and 10000),
  max_context_messages integer default 10 check (max_context_messages between 1 and 50),
  fallback_message text default 'No puedo ayudarte con eso. ¿Te gustaría hablar con un operador?',
  channels jsonb not null default '[]',
  channel_configs jsonb default '{}',
  is_active boolean not null default true,
  is_training boolean not null default false,
  training_progress integer default 0 check (training_progress between 0 and 100),
  working_hours jsonb default '{}',
  timezone varchar(50) default 'America/Bogota' check (private.is_timezone(timezone)),
  hitl_enabled boolean not null default true,
  hitl_triggers jsonb default '["no_answer", "user_request", "keywords"]'
    check (jsonb_typeof(hitl_triggers) = 'array'),
  hitl_trigger_keywords text[] default '{}',
  auto_escalate_after_minutes integer default 5 check (auto_escalate_after_minutes between 1 and 1440),
  total_conversations integer not null default 0,
  total_messages integer not null default 0,
  avg_response_time_ms integer default 0,
  satisfaction_score decimal(3, 2) default 0.0,
  retired_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid not null,
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id)
);
comment on column public.chatbots.channels is 'Derived: the kinds of the connected channel_accounts.';
create unique index chatbots_name_key on public.chatbots (company_id, name) where retired_at is null;
create index chatbots_created_by_idx on public.chatbots (company_id, created_by);

create table public.chatbot_operators (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  operator_id uuid not null,
  assigned_by uuid not null,
  assigned_at timestamptz not null default now(),
  is_active boolean not null default true,
  primary key (company_id, id),
  unique (company_id, chatbot_id, operator_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, assigned_by) references public.users (company_id, id)
);
create index chatbot_operators_operator_idx on public.chatbot_operators (company_id, operator_id);
create index chatbot_operators_assigned_by_idx on public.chatbot_operators (company_id, assigned_by);

create function private.check_operator_role() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if not exists (
    select from public.users u
    where u.company_id = new.company_id and u.id = new.operator_id and u.role = 'operador'
  ) then
    raise exception 'only an operador can be assigned to a chatbot' using errcode = 'check_violation';
  end if;
  return new;
end $$;
comment on function private.check_operator_role() is
  'Definer: the assigning supervisor may not see every user, but the rule holds for all.';

create table public.channel_accounts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  channel public.conversation_channel_enum not null,
  routing_id varchar(100) not null unique check (routing_id ~ '^[A-Za-z0-9_-]{8,100}$'),
  display_name varchar(255) not null,
  status text not null default 'connected' check (status in ('connected', 'paused', 'error', 'disconnected')),
  status_detail text,
  secret_digest bytea check (octet_length(secret_digest) = 32),
  secrets_encrypted bytea,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (channel = 'web' or secret_digest is not null)
);
comment on table public.channel_accounts is
  'One row per connected Telegram bot, WhatsApp number, Slack workspace or web chat.';
comment on column public.channel_accounts.routing_id is
  'What the channel or the page calls us by. Global: it is what finds the company.';
comment on column public.channel_accounts.secret_digest is
  'SHA-256 of the secret that the channel proves itself by; the secret itself is not kept.';
create index channel_accounts_chatbot_idx on public.channel_accounts (company_id, chatbot_id);

create table public.company_keys (
  company_id uuid primary key references public.companies (id),
  wrapped_key bytea not null,
  created_at timestamptz not null default now()
);
comment on table public.company_keys is
  'The AES-256 key of each company, wrapped by the master key, which is never in the database.';

create table public.login_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid not null,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  ip_address inet,
  user_agent text,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (company_id, id),
  foreign key (company_id, user_id) references public.users (company_id, id)
);
create index login_sessions_user_idx on public.login_sessions (company_id, user_id);

create table public.visitor_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id)
);
comment on table public.visitor_sessions is
  'A visitor of a web chat. Only the digest of the token is kept; the id is the end_user_id.';
create index visitor_sessions_account_idx on public.visitor_sessions (company_id, channel_account_id);

create function private.derive_chatbot_channels() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_row record := coalesce(new, old);
begin
  update public.chatbots b set channels = coalesce((
    select jsonb_agg(distinct a.channel order by a.channel)
    from public.channel_accounts a
    where a.company_id = b.company_id and a.chatbot_id = b.id and a.status = 'connected'), '[]')
  where b.company_id = v_row.company_id and b.id = v_row.chatbot_id;
  return null;
end $$;
comment on function private.derive_chatbot_channels() is
  'Definer: nobody may write chatbots.channels by hand; it follows channel_accounts.';

create trigger set_updated_at before update on public.companies
  for each row execute function private.set_updated_at();
create trigger set_updated_at before update on public.users
  for each row execute function private.set_updated_at();
create trigger set_updated_at before update on public.chatbots
  for each row execute function private.set_updated_at();
create trigger set_updated_at before update on public.channel_accounts
  for each row execute function private.set_updated_at();
create trigger check_operator_role before insert or update on public.chatbot_operators
  for each row execute function private.check_operator_role();
create trigger derive_chatbot_channels after insert or update or delete on public.channel_accounts
  for each row execute function private.derive_chatbot_channels();

alter function private.check_operator_role() owner to neurant_router;
alter function private.derive_chatbot_channels() owner to neurant_router;

reset role;
-- migrate:down
