-- People: the staff of a company, their roles and their place in the team.

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
  check (is_owner = (role = 'owner')),
  constraint users_address_check check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  -- The permissions denied to a single person: {"documents.edit": false}. The column can only take
  -- permissions away.
  constraint users_permissions_narrow_check check (
    not jsonb_path_exists(permissions, '$.* ? (@ != false)')),
  constraint users_owner_unnarrowed_check check (
    not is_owner or permissions = '{}'),
  constraint users_first_name_reads_check check (first_name = '' or private.reads_as_name(first_name)),
  constraint users_last_name_reads_check
    check (last_name = '' or private.reads_as_name(last_name))
);
comment on column public.users.permissions is
  'The permissions denied to this person although the role has them, as {"<permission>": false}. Written by set_user_permissions().';
create unique index users_one_owner_key on public.users (company_id) where is_owner;
create index users_auth_user_idx on public.users (auth_user_id);
create index users_invited_by_idx on public.users (company_id, invited_by);
create index users_created_by_idx on public.users (company_id, created_by);

alter table public.users enable row level security, force row level security;
create policy staff_select on public.users for select to authenticated
  using (company_id = (select private.company_id('users.read'))
    and ((select private.manages_company())
      or id = (select private.user_id())
      or ((select private.user_role()) = 'supervisor' and role in ('supervisor', 'operador'))));
create policy staff_update on public.users for update to authenticated
  using (company_id = (select private.company_id('profile.edit'))
    and id = (select private.user_id()))
  with check (company_id = (select private.company_id('profile.edit'))
    and id = (select private.user_id()));
create policy worker_select on public.users for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.users for select to neurant_router using (true);
create policy router_insert on public.users for insert to neurant_router with check (true);
create policy router_update on public.users for update to neurant_router using (true) with check (true);
grant select on public.users to authenticated;
grant update (first_name, last_name, avatar_url, phone) on public.users to authenticated;
grant select (company_id, id, email, first_name, last_name, role, is_active) on public.users to
  neurant_worker;
grant select, insert on public.users to neurant_router;
grant update (auth_user_id, email, first_name, last_name, avatar_url, phone, role, is_owner,
  permissions, is_active, last_login_at, last_seen_at, updated_at) on public.users to
  neurant_router;

select private.audit_table('public.users', 'id',
  '{auth_user_id,role,is_owner,is_active,invited_by,invited_at,accepted_invitation_at,
    created_by,permissions}',
  '{email,first_name,last_name,avatar_url,phone}',
  '{}',
  '{last_login_at,last_seen_at,created_at,updated_at}');

create trigger set_updated_at before update on public.users
  for each row execute function private.update_updated_at_column();

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
  'Requires that a user assigned to a bot as its operador has that role. Security definer, called by a trigger, because the assigning supervisor may not see every user, and the rule must.';

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
  'Requires that a user in charge of a bot has the role supervisor. Security definer, called by a trigger, because the rule must see every user, whoever assigns.';

create function private.keep_an_owner() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from public.users u where u.company_id = old.company_id)
    and not exists (
      select from public.users u where u.company_id = old.company_id and u.is_owner and u.is_active)
  then
    raise exception 'a company has an active owner' using errcode = 'check_violation';
  end if;
  return null;
end $$;
comment on function private.keep_an_owner() is
  'Requires an active owner in every company. It is checked at commit, so that ownership can pass from one person to another. Security definer, called by a trigger, because the rule must see every user, whoever writes.';

create constraint trigger keep_an_owner
  after delete or update of role, is_owner, is_active on public.users
  deferrable initially deferred for each row when (old.is_owner)
  execute function private.keep_an_owner();

create function private.attends_while_active() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Locked: somebody who is deactivated at this moment takes nothing more.
  perform from public.users u
  where u.company_id = new.company_id and u.id = new.operator_id and u.is_active for share;
  if not found then
    raise exception 'only an active user attends a conversation' using errcode = 'insufficient_privilege';
  end if;
  return new;
end $$;
comment on function private.attends_while_active() is
  'Requires that the operator of a takeover is an active user, and locks that user''s row, so that a concurrent deactivation waits. Security definer, called by a trigger, because an operador may not see every colleague, and the rule must.';

create function private.leave_assignments(
  p_company uuid, p_user uuid, p_role public.user_role_enum)
returns void
language plpgsql security definer set search_path = '' as $$
begin
  if p_role <> 'operador' then
    update public.chatbot_operators o set is_active = false
    where o.company_id = p_company and o.operator_id = p_user and o.is_active;
  end if;
  if p_role <> 'supervisor' then
    delete from public.chatbot_supervisors s
    where s.company_id = p_company and s.supervisor_id = p_user;
  end if;
end $$;
comment on function private.leave_assignments(uuid, uuid, public.user_role_enum) is
  'Ends the assignments to bots that the new role cannot hold; called before the role changes. Security definer, called by other definers only, because it writes assignments that the caller may not write.';

create function private.release_takeovers(p_company uuid, p_user uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from public.conversations c
  where c.company_id = p_company and c.id in (
    select s.conversation_id from public.hitl_sessions s
    where s.company_id = p_company and s.operator_id = p_user and s.ended_at is null)
  order by c.id for update;
  update public.hitl_sessions s set status = 'pending', operator_id = null
  where s.company_id = p_company and s.operator_id = p_user and s.ended_at is null;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = p_company and t.status = 'pending'
    and (t.from_user_id = p_user or t.to_user_id = p_user);
end $$;
comment on function private.release_takeovers(uuid, uuid) is
  'Returns the conversations that a user attends to the queue. Security definer, called by other definers only, because no role may write hitl_sessions directly.';

create function private.set_user_role(p_user uuid, p_role public.user_role_enum) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('users.manage');
  v_target public.users;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not (private.stands_above(v_target.role) and private.stands_above(p_role)) then
    return 'forbidden';
  end if;
  if v_target.role = p_role then
    return 'unchanged';
  end if;
  perform private.leave_assignments(v_company, p_user, p_role);
  update public.users u set role = p_role where u.company_id = v_company and u.id = p_user;
  return 'changed';
end $$;
comment on function private.set_user_role(uuid, public.user_role_enum) is
  'Gives a user below the caller another role below the caller''s. Outcome: changed, unchanged, forbidden or not_found. Security definer, called by staff and API keys, because no role may write roles directly.';
grant execute on function private.set_user_role(uuid, public.user_role_enum) to authenticated;

create function private.set_user_active(p_user uuid, p_is_active boolean) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('users.manage');
  v_target public.users;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  -- The user, then conversations, then (by a trigger) the company.
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_target.role) then
    return 'forbidden';
  end if;
  if v_target.is_active = p_is_active then
    return 'unchanged';
  end if;
  if not p_is_active then
    perform private.release_takeovers(v_company, p_user);
    delete from public.login_sessions s where s.company_id = v_company and s.user_id = p_user;
  end if;
  update public.users u set is_active = p_is_active where u.company_id = v_company and u.id = p_user;
  return case when p_is_active then 'activated' else 'deactivated' end;
end $$;
comment on function private.set_user_active(uuid, boolean) is
  'Activates or deactivates a user below the caller. Outcome: activated (error NA002 if no seat is left), deactivated (the seat is freed, sessions end, and takeovers return to the queue), unchanged, forbidden or not_found. Security definer, called by staff and API keys, because no role may write this column directly.';
grant execute on function private.set_user_active(uuid, boolean) to authenticated;

-- Ownership is only ever transferred as a whole.
create function private.transfer_ownership(p_to uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.transfer');
  v_user uuid := private.user_id();
  v_target public.users;
begin
  if v_company is null then
    return 'forbidden';
  end if;
  perform from public.users u
  where u.company_id = v_company and u.id in (v_user, p_to) order by u.id for no key update;
  if not exists (
    select from public.users u where u.company_id = v_company and u.id = v_user and u.is_owner) then
    return 'forbidden';  -- passed on a moment ago
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active and u.auth_user_id is not null;
  if v_target.id is null then
    return 'not_found';
  end if;
  if v_target.id = v_user then
    return 'unchanged';
  end if;
  perform private.leave_assignments(v_company, p_to, 'owner');
  update public.users u set role = 'administrador', is_owner = false
  where u.company_id = v_company and u.id = v_user;
  update public.users u set role = 'owner', is_owner = true, permissions = '{}'
  where u.company_id = v_company and u.id = p_to;
  perform private.notify_users(v_company, '{owner}', 'ownership_received', '{}');
  return 'transferred';
end $$;
comment on function private.transfer_ownership(uuid) is
  'The owner makes an active colleague the owner and becomes administrador. Outcome: transferred, unchanged, forbidden or not_found. Concurrent readers see exactly one owner at any time. Security definer, called by staff and API keys, because no role may write roles directly.';
grant execute on function private.transfer_ownership(uuid) to authenticated;

create function private.set_user_permissions(p_user uuid, p_denied text[]) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('users.manage');
  v_target public.users;
  v_permissions jsonb := coalesce(
    (select jsonb_object_agg(d.name, false) from unnest(p_denied) as d (name)), '{}');
begin
  if v_company is null then
    return 'forbidden';
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_target.role) then
    return 'forbidden';
  end if;
  if exists (
    select from unnest(p_denied) as d (name)
    where d.name is null
      or d.name not in (select p.name from public.permissions p where p.is_narrowable)) then
    return 'not_narrowable';
  end if;
  if v_target.permissions = v_permissions then
    return 'unchanged';
  end if;
  update public.users u set permissions = v_permissions
  where u.company_id = v_company and u.id = p_user;
  return 'changed';
end $$;
comment on function private.set_user_permissions(uuid, text[]) is
  'Replaces the permissions denied to a user below the caller. Outcome: changed, unchanged, not_narrowable (an unknown permission, or one that cannot be taken away), forbidden or not_found. Security definer, called by staff and API keys, because no role may write this column directly.';
grant execute on function private.set_user_permissions(uuid, text[]) to authenticated;

create function private.team_directory() returns table (
  user_id uuid, first_name text, last_name text, avatar_url text, role public.user_role_enum,
  last_seen_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select u.id, u.first_name, u.last_name, u.avatar_url, u.role,
    private.last_seen(u.company_id, u.id)
  from public.users u
  where u.company_id = (select private.company_id('team.read')) and u.is_active
    and ((select private.sees_all_chatbots())
      -- Whoever is in charge of a bot is a supervisor: among these, too.
      or u.role <> 'operador'
      or exists (
        select from public.chatbot_operators o
        where o.company_id = u.company_id and o.operator_id = u.id and o.is_active
          and o.chatbot_id = any ((select private.my_chatbot_ids())::uuid[])))
$$;
comment on function private.team_directory() is
  'Returns the active colleagues to whom the caller may transfer a conversation, with what distinguishes them: everybody from supervisor up, and the operadores of the caller''s bots (of all bots for a supervisor and above). Security definer, called by staff and API keys, because an operador may not read other users'' rows, whose e-mail and phone stay closed.';
grant execute on function private.team_directory() to authenticated;

create function private.last_seen(p_company uuid, p_user uuid) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select greatest(
    (select u.last_seen_at from public.users u where u.company_id = p_company and u.id = p_user),
    (select max(s.last_seen_at) from public.login_sessions s
      where s.company_id = p_company and s.user_id = p_user))
$$;
comment on function private.last_seen(uuid, uuid) is
  'Returns when a user was last active, to the minute. Security definer, called by other definers only, because no other role may read sessions.';

create function private.memberships(p_auth_user uuid) returns bigint
language sql stable security definer set search_path = '' as $$
  select count(*) from public.users u
  where u.auth_user_id = p_auth_user and u.is_active
    and private.sso_required(u.company_id, u.id) is null
$$;
comment on function private.memberships(uuid) is
  'Returns the number of companies that the person of a token may choose from. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.memberships(uuid) to neurant_app;

create function private.lost_companies(p_token_digest bytea) returns setof text
language sql stable security definer set search_path = '' as $$
  select c.name::text
  from public.auth_sessions a
  join public.users u on u.auth_user_id = a.auth_user_id and not u.is_active
    and (a.only_company_id is null or u.company_id = a.only_company_id)
  join public.companies c on c.id = u.company_id
  where a.token_digest = p_token_digest and a.expires_at > now()
  order by c.name
$$;
comment on function private.lost_companies(bytea) is
  'Returns only the names of the companies in which the person of this session is deactivated. Security definer, called by the web process, because no principal may read two companies at once.';
grant execute on function private.lost_companies(bytea) to neurant_app;

create function private.leave_nothing_of_others(p_auth_user uuid) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.auth_sessions s where s.auth_user_id = p_auth_user;
  delete from public.auth_factors f where f.auth_user_id = p_auth_user;
  delete from public.login_challenges c where c.auth_user_id = p_auth_user;
  update public.password_resets r set used_at = now()
  where r.auth_user_id = p_auth_user and r.used_at is null
$$;
comment on function private.leave_nothing_of_others(uuid) is
  'Ends every session, second step, challenge and password reset of a login that an identity provider created, at the moment its mailbox owner takes it over. Security definer, called by other definers only, because it writes tables that are closed to every login.';
