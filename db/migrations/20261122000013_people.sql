-- migrate:up
-- Invitations, API keys, supervisors in charge, what people are told, and who may edit what.
set local role neurant_owner;

alter function private.set_updated_at() rename to update_updated_at_column;

create type public.invitation_status_enum as enum ('pending', 'accepted', 'expired', 'cancelled');

create table public.user_invitations (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100),
  last_name varchar(100),
  role public.user_role_enum not null default 'operador' check (role <> 'owner'),
  invited_by uuid not null,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  expires_at timestamptz not null default now() + interval '7 days',
  status public.invitation_status_enum not null default 'pending',
  accepted_at timestamptz,
  accepted_by_user_id uuid,
  sent_at timestamptz not null default now(),
  sent_count integer not null default 1 check (sent_count > 0),
  reminder_sent_at timestamptz,
  reminder_count integer not null default 0 check (reminder_count between 0 and 2),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  -- One row for an address, renewed when it is invited again.
  unique (company_id, email),
  foreign key (company_id, invited_by) references public.users (company_id, id),
  foreign key (company_id, accepted_by_user_id) references public.users (company_id, id),
  check (expires_at > sent_at),
  check ((status = 'accepted') = (accepted_at is not null))
);
comment on column public.user_invitations.token_digest is
  'SHA-256 of the token in the mailed link; the token itself is not kept.';
create index user_invitations_invited_by_idx on public.user_invitations (company_id, invited_by);
create index user_invitations_accepted_by_idx
  on public.user_invitations (company_id, accepted_by_user_id) where accepted_by_user_id is not null;
create index user_invitations_expiring_idx
  on public.user_invitations (expires_at) where status = 'pending';

create table public.api_keys (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(100) not null check (btrim(name) <> ''),
  prefix varchar(16) not null,
  key_digest bytea not null unique check (octet_length(key_digest) = 32),
  role public.user_role_enum not null check (role in ('administrador', 'supervisor')),
  created_by uuid not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id)
);
comment on table public.api_keys is
  'Keys for programs. A key never stands above its maker: it is as strong as the weaker of both, and dies with the maker''s account.';
comment on column public.api_keys.prefix is 'The first characters, by which people tell keys apart.';
create index api_keys_created_by_idx on public.api_keys (company_id, created_by);

create table public.chatbot_supervisors (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  supervisor_id uuid not null,
  assigned_by uuid not null,
  assigned_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, supervisor_id) references public.users (company_id, id),
  foreign key (company_id, assigned_by) references public.users (company_id, id)
);
comment on table public.chatbot_supervisors is 'The one supervisor in charge of a bot.';
create index chatbot_supervisors_supervisor_idx on public.chatbot_supervisors (company_id, supervisor_id);
create index chatbot_supervisors_assigned_by_idx on public.chatbot_supervisors (company_id, assigned_by);

create table public.notifications (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid not null,
  kind text not null check (kind ~ '^[a-z_]{3,50}$'),
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object'),
  created_at timestamptz not null default now(),
  read_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, user_id) references public.users (company_id, id)
);
comment on column public.notifications.kind is 'A key of the message catalogue, told in the reader''s language.';
create index notifications_user_idx on public.notifications (company_id, user_id, created_at desc);

create function private.check_supervisor_role() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if not exists (
    select from public.users u
    where u.company_id = new.company_id and u.id = new.supervisor_id and u.role = 'supervisor'
  ) then
    raise exception 'only a supervisor can be in charge of a chatbot' using errcode = 'check_violation';
  end if;
  return new;
end $$;
comment on function private.check_supervisor_role() is
  'Definer: the rule holds for all users, whoever assigns.';

create function private.notify_users(
  p_company uuid, p_roles public.user_role_enum[], p_kind text, p_details jsonb)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.notifications (company_id, user_id, kind, details)
  select u.company_id, u.id, p_kind, p_details
  from public.users u
  where u.company_id = p_company and u.is_active and u.role = any (p_roles)
$$;
comment on function private.notify_users(uuid, public.user_role_enum[], text, jsonb) is
  'Tells everybody of these roles. Definer: called by definers; nobody writes notifications by hand.';

create function private.retire_chatbot(p_chatbot uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  update public.chatbots b set retired_at = now(), is_active = false
  where b.company_id = v_company and b.id = p_chatbot and b.retired_at is null;
  if not found then
    return 'not_found';
  end if;
  update public.channel_accounts a set status = 'disconnected', status_detail = 'chatbot_retired'
  where a.company_id = v_company and a.chatbot_id = p_chatbot;
  return 'retired';
end $$;
comment on function private.retire_chatbot(uuid) is
  'Takes a bot out of service for good: retired or not_found. Its history stays. Definer: supervisors edit bots, but only owner and administradores retire them.';

create function private.login_api_key(p_key_digest bytea)
returns table (company_id uuid, key_id uuid)
language plpgsql security definer set search_path = '' as $$
begin
  update public.api_keys k set last_used_at = now()
  where k.key_digest = p_key_digest
    and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute');
  return query
  select k.company_id, k.id from public.api_keys k
  where k.key_digest = p_key_digest and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now());
end $$;
comment on function private.login_api_key(bytea) is
  'Which key a program shows; what it may do, company_id() verifies at each statement. Definer: the caller is nobody until this answers.';

alter table public.user_invitations enable row level security, force row level security;
alter table public.api_keys enable row level security, force row level security;
alter table public.chatbot_supervisors enable row level security, force row level security;
alter table public.notifications enable row level security, force row level security;

create policy staff_select on public.user_invitations for select to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_select on public.api_keys for select to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_insert on public.api_keys for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.manages_company())
    and created_by = (select private.user_id()));
create policy staff_update on public.api_keys for update to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()))
  with check (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_select on public.chatbot_supervisors for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.chatbot_supervisors for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.manages_company())
    and assigned_by = (select private.user_id()));
create policy staff_delete on public.chatbot_supervisors for delete to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_select on public.notifications for select to authenticated
  using (company_id = (select private.company_id()) and user_id = (select private.user_id()));
create policy staff_update on public.notifications for update to authenticated
  using (company_id = (select private.company_id()) and user_id = (select private.user_id()))
  with check (company_id = (select private.company_id()) and user_id = (select private.user_id()));

create policy staff_update on public.companies for update to authenticated
  using (id = (select private.company_id()) and (select private.manages_company()))
  with check (id = (select private.company_id()) and (select private.manages_company()));
create policy staff_update on public.users for update to authenticated
  using (company_id = (select private.company_id()) and id = (select private.user_id()))
  with check (company_id = (select private.company_id()) and id = (select private.user_id()));
create policy staff_insert on public.chatbots for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.sees_all_chatbots())
    and created_by = (select private.user_id()));
create policy staff_update on public.chatbots for update to authenticated
  using (company_id = (select private.company_id()) and (select private.sees_all_chatbots()))
  with check (company_id = (select private.company_id()) and (select private.sees_all_chatbots()));
create policy staff_insert on public.chatbot_operators for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.sees_all_chatbots())
    and assigned_by = (select private.user_id()));
create policy staff_update on public.chatbot_operators for update to authenticated
  using (company_id = (select private.company_id()) and (select private.sees_all_chatbots()))
  with check (company_id = (select private.company_id()) and (select private.sees_all_chatbots()));

grant select (company_id, id, email, first_name, last_name, role, invited_by, expires_at, status,
  accepted_at, accepted_by_user_id, sent_at, sent_count, reminder_sent_at, reminder_count,
  created_at, updated_at) on public.user_invitations to authenticated;
grant select (company_id, id, name, prefix, role, created_by, created_at, last_used_at, expires_at,
  revoked_at) on public.api_keys to authenticated;
grant insert (company_id, id, name, prefix, key_digest, role, created_by, expires_at)
  on public.api_keys to authenticated;
grant update (name, revoked_at) on public.api_keys to authenticated;
grant select, delete on public.chatbot_supervisors to authenticated;
grant insert (company_id, chatbot_id, supervisor_id, assigned_by)
  on public.chatbot_supervisors to authenticated;
grant select on public.notifications to authenticated;
grant update (read_at) on public.notifications to authenticated;
grant update (name, email, phone, industry, website, logo_url, timezone)
  on public.companies to authenticated;
grant update (first_name, last_name, avatar_url, phone) on public.users to authenticated;
grant insert (company_id, id, name, description, avatar_url, system_prompt, personality_traits,
  response_delay_ms, max_context_messages, fallback_message, is_active, working_hours, timezone,
  hitl_enabled, hitl_triggers, hitl_trigger_keywords, auto_escalate_after_minutes, created_by)
  on public.chatbots to authenticated;
grant update (name, description, avatar_url, system_prompt, personality_traits, response_delay_ms,
  max_context_messages, fallback_message, is_active, working_hours, timezone, hitl_enabled,
  hitl_triggers, hitl_trigger_keywords, auto_escalate_after_minutes)
  on public.chatbots to authenticated;
grant insert (company_id, chatbot_id, operator_id, assigned_by) on public.chatbot_operators
  to authenticated;
grant update (is_active) on public.chatbot_operators to authenticated;

create policy router_select on public.user_invitations for select to neurant_router using (true);
create policy router_insert on public.user_invitations for insert to neurant_router with check (true);
create policy router_update on public.user_invitations for update to neurant_router using (true) with check (true);
create policy router_select on public.api_keys for select to neurant_router using (true);
create policy router_update on public.api_keys for update to neurant_router using (true) with check (true);
create policy router_select on public.notifications for select to neurant_router using (true);
create policy router_insert on public.notifications for insert to neurant_router with check (true);
create policy router_update on public.channel_accounts for update to neurant_router using (true) with check (true);
grant select, insert, update on public.user_invitations to neurant_router;
grant select on public.api_keys, public.notifications to neurant_router;
grant update (last_used_at) on public.api_keys to neurant_router;
grant insert on public.notifications to neurant_router;
grant update (retired_at, is_active) on public.chatbots to neurant_router;
grant update (status, status_detail) on public.channel_accounts to neurant_router;

create trigger set_updated_at before update on public.user_invitations
  for each row execute function private.update_updated_at_column();
create trigger check_supervisor_role before insert or update on public.chatbot_supervisors
  for each row execute function private.check_supervisor_role();

grant execute on function private.retire_chatbot(uuid) to authenticated;
grant execute on function private.login_api_key(bytea) to neurant_app;
grant execute on function private.notify_users(uuid, public.user_role_enum[], text, jsonb)
  to neurant_router;
alter function private.check_supervisor_role() owner to neurant_router;
alter function private.notify_users(uuid, public.user_role_enum[], text, jsonb) owner to neurant_router;
alter function private.retire_chatbot(uuid) owner to neurant_router;
alter function private.login_api_key(bytea) owner to neurant_router;

-- An API key is a principal too. (As the router: nobody else may replace what it owns.)
set local role neurant_router;
create or replace function private.company_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select case current_setting('role')
    when 'authenticated' then coalesce((
      select u.company_id
      from public.users u
      join public.companies c on c.id = u.company_id
      where u.company_id = (select (private.claims() ->> 'company_id')::uuid)
        and u.auth_user_id = (select (private.claims() ->> 'sub')::uuid)
        and u.is_active and c.subscription_status <> 'cancelled'), (
      select k.company_id
      from public.api_keys k
      join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
      join public.companies c on c.id = k.company_id
      where k.company_id = (select (private.claims() ->> 'company_id')::uuid)
        and k.id = (select (private.claims() ->> 'key_id')::uuid)
        and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
        and maker.is_active and c.subscription_status <> 'cancelled'))
    when 'visitor' then (
      select v.company_id
      from public.visitor_sessions v
      join public.companies c on c.id = v.company_id
      where v.token_digest = (select decode(private.claims() ->> 'visitor', 'hex'))
        and v.expires_at > now() and c.subscription_status <> 'cancelled')
    when 'neurant_worker' then (
      select c.id
      from public.companies c
      where c.id = (select (private.claims() ->> 'company_id')::uuid)
        and session_user = 'neurant_jobs' and c.subscription_status <> 'cancelled')
  end
$$;

create or replace function private.user_role() returns public.user_role_enum
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select u.role
    from public.users u
    where current_setting('role') = 'authenticated'
      and u.company_id = (select private.company_id())
      and u.auth_user_id = (select (private.claims() ->> 'sub')::uuid)), (
    select greatest(k.role, maker.role)  -- the enum runs from the strongest to the weakest
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    where current_setting('role') = 'authenticated'
      and k.company_id = (select private.company_id())
      and k.id = (select (private.claims() ->> 'key_id')::uuid)))
$$;
comment on function private.user_role() is
  'The role of the verified staff member or API key, or null. Definer, as company_id().';

reset role;

-- migrate:down
