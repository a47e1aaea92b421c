-- Audit: who changed what, without personal values in clear.

create table public.audit_logs (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid,
  user_email varchar(255),
  user_role public.user_role_enum,
  action public.audit_action_enum not null,
  resource_type varchar(100) not null,
  resource_id uuid,
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object'),
  ip_address inet,
  user_agent text,
  session_id varchar(255),
  request_id varchar(255),
  created_at timestamptz not null default clock_timestamp(),
  primary key (company_id, id)
);
comment on table public.audit_logs is
  'Every relevant change, written by triggers. The table has no foreign keys, because its rows outlive the users and objects that they name, and the company. Messages and conversations are their own history and are not repeated here.';
comment on column public.audit_logs.user_id is
  'The user who made the change. For an API key: the user who made the key, with key_id in details.';
comment on column public.audit_logs.user_email is
  'Digest of the e-mail address, keyed by audit_salts, so that erasure can make it unattributable.';
comment on column public.audit_logs.user_role is
  'The role at the time of the change. For an API key: the weaker of the key''s role and its maker''s.';
comment on column public.audit_logs.details is
  'before and after hold the changed columns. Personal columns and free text are stored as digests (audit_salts); hidden lists the changed columns whose values are never shown; by is staff, api_key, worker, system, visitor, web (not signed in yet) or database (changed by hand).';
comment on column public.audit_logs.ip_address is
  'The network only (/24, or /48 for IPv6); details holds the full address as a digest.';
comment on column public.audit_logs.user_agent is
  'Digest of the User-Agent header (audit_salts). It distinguishes one browser from another and reveals nothing else.';
create index audit_logs_newest_idx on public.audit_logs (company_id, created_at desc, id desc);
create index audit_logs_user_idx on public.audit_logs (company_id, user_id, action, created_at desc);
create index audit_logs_resource_idx
  on public.audit_logs (company_id, resource_type, resource_id, created_at desc);
-- Finds all audit rows of one request.
create index audit_logs_request_idx on public.audit_logs (company_id, request_id);

alter table public.audit_logs enable row level security, force row level security;
create policy staff_select on public.audit_logs for select to authenticated
  using (company_id = (select private.company_id('audit.read')));
create policy router_select on public.audit_logs for select to neurant_router using (true);
create policy router_insert on public.audit_logs for insert to neurant_router with check (true);
grant select on public.audit_logs to authenticated;
grant select, insert on public.audit_logs to neurant_router;

create table public.audit_salts (
  company_id uuid not null,
  subject uuid not null,
  salt bytea check (octet_length(salt) = 32),
  shredded_at timestamptz,
  primary key (company_id, subject),
  check ((salt is null) = (shredded_at is not null))
);
comment on table public.audit_salts is
  'The keys of the personal digests of one subject (a user, an invitation, a conversation, or the company itself). Erasure deletes the salt: existing digests of the subject can never be matched again, and no new ones are made.';

alter table public.audit_salts enable row level security, force row level security;
create policy router_select on public.audit_salts for select to neurant_router using (true);
create policy router_insert on public.audit_salts for insert to neurant_router with check (true);
create policy router_update on public.audit_salts for update to neurant_router using (true) with check (true);
grant select, insert on public.audit_salts to neurant_router;
grant update (salt, shredded_at) on public.audit_salts to neurant_router;

create table public.audit_unsealed (
  company_id uuid not null,
  audit_id uuid not null,
  primary key (company_id, audit_id)
);
comment on table public.audit_unsealed is
  'Rows of audit_logs that are not sealed yet. The transaction that writes the audit row also writes this one, so no row is missed, however late it commits.';

alter table public.audit_unsealed enable row level security, force row level security;
create policy router_select on public.audit_unsealed for select to neurant_router using (true);
create policy router_insert on public.audit_unsealed for insert to neurant_router with check (true);
create policy router_delete on public.audit_unsealed for delete to neurant_router using (true);
grant select, insert, delete on public.audit_unsealed to neurant_router;

create function private.personal_digest(p_company uuid, p_subject uuid, p_value text) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_subject uuid := coalesce(p_subject, p_company);
  v_salt bytea;
begin
  if p_value is null then
    return null;
  end if;
  if exists (
    select from public.audit_salts s
    where s.company_id = p_company and s.subject = p_company and s.salt is null
  ) then
    return 'erased';
  end if;
  insert into public.audit_salts (company_id, subject, salt)
  select p_company, v_subject,
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
  where not exists (
    select from public.audit_salts s where s.company_id = p_company and s.subject = v_subject)
  on conflict do nothing;
  select s.salt into v_salt from public.audit_salts s
  where s.company_id = p_company and s.subject = v_subject;
  return coalesce(encode(sha256(v_salt || convert_to(p_value, 'UTF8')), 'hex'), 'erased');
end $$;
comment on function private.personal_digest(uuid, uuid, text) is
  'Returns the digest of a personal value, as the audit log stores it. Security definer, called by other definers only, because only audit and erasure may read the salts.';

create function private.shred_audit_subject(p_company uuid, p_subject uuid) returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.audit_salts (company_id, subject, salt, shredded_at)
  select p_company, s.subject, null, now()
  from (
    select p_subject as subject
    union
    select i.id from public.user_invitations i
    left join public.users u on u.company_id = i.company_id and u.id = p_subject
    where i.company_id = p_company and (i.accepted_by_user_id = p_subject or i.email = u.email)
  ) s
  on conflict (company_id, subject) do update set salt = null, shredded_at = now()
$$;
comment on function private.shred_audit_subject(uuid, uuid) is
  'Deletes the salts of a user (with the user''s invitations), of a conversation, or, if the subject is the company itself, of everybody in it, so that no audit row can be matched to the person again. Security definer, called by other definers only, because only erasure may delete salts.';

create function private.shred_audit_company(p_company uuid) returns void
language sql volatile security definer set search_path = '' as $$
  update public.audit_salts s set salt = null, shredded_at = now()
  where s.company_id = p_company and s.salt is not null;
  select private.shred_audit_subject(p_company, p_company)
$$;
comment on function private.shred_audit_company(uuid) is
  'Deletes every salt of a company that is being erased. Security definer, called by other definers only, because only erasure may delete salts.';

create function private.audit_digest_of(p_subject uuid, p_value text) returns text
language sql stable security definer set search_path = '' as $$
  select encode(sha256(s.salt || convert_to(p_value, 'UTF8')), 'hex')
  from public.audit_salts s
  where s.company_id = (select private.company_id('audit.read')) and s.subject = p_subject
    and (select private.manages_company())
$$;
comment on function private.audit_digest_of(uuid, text) is
  'Returns the digest that the audit log would store for this value of a user, to search user_email and details by it. Only the owner and administradores get it; null if the subject is erased. Security definer, called by staff and API keys, because no role may read the salts.';
grant execute on function private.audit_digest_of(uuid, text) to authenticated;

create function private.write_audit(
  p_company uuid, p_action public.audit_action_enum, p_resource_type text, p_resource_id uuid,
  p_details jsonb, p_actor uuid default null::uuid, p_role public.user_role_enum default
  null::public.user_role_enum, p_trail jsonb default '{}')
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_role text := current_setting('role');
  v_claims jsonb := private.claims();
  v_trail jsonb := p_trail || coalesce(nullif(current_setting('request.audit', true), ''), '{}')::jsonb;
  -- Who founds a company or joins it is in no claims yet: the definer that does it says so.
  v_login uuid := nullif(current_setting('request.actor', true), '')::uuid;
  v_user public.users;
  v_key public.api_keys;
  v_address inet;
  v_details jsonb := p_details;
begin
  -- Looked up by the claims and not by user_id(): the change may be the one that shuts the actor out.
  if p_actor is not null then
    select u.* into v_user from public.users u where u.company_id = p_company and u.id = p_actor;
  elsif v_role = 'authenticated' and (v_claims ->> 'company_id')::uuid is not distinct from p_company then
    if v_claims ->> 'key_id' is null then
      select u.* into v_user from public.users u
      where u.company_id = p_company and u.auth_user_id = (v_claims ->> 'sub')::uuid;
    else
      select k.* into v_key from public.api_keys k
      where k.company_id = p_company and k.id = (v_claims ->> 'key_id')::uuid;
      select u.* into v_user from public.users u
      where u.company_id = p_company and u.id = v_key.created_by;
      v_user.role := greatest(v_key.role, v_user.role);
      v_details := v_details || jsonb_strip_nulls(jsonb_build_object('key_id', v_key.id));
    end if;
  elsif v_role = 'none' and v_login is not null then
    select u.* into v_user from public.users u
    where u.company_id = p_company and u.auth_user_id = v_login;
  end if;
  v_details := v_details || jsonb_build_object('by', case
    when v_key.id is not null then 'api_key'
    when v_user.id is not null then 'staff'
    when v_role = 'neurant_worker' then 'worker'
    when v_role = 'visitor' then 'visitor'
    when session_user = 'neurant_jobs' then 'system'
    when session_user = 'neurant_app' then 'web'
    else 'database' end);
  if pg_input_is_valid(v_trail ->> 'ip', 'inet') then
    v_address := (v_trail ->> 'ip')::inet;
    if v_user.id is not null then
      v_details := v_details || jsonb_build_object(
        'address', private.personal_digest(p_company, v_user.id, host(v_address)));
    end if;
  end if;
  insert into public.audit_logs
    (company_id, user_id, user_email, user_role, action, resource_type, resource_id, details,
      ip_address, user_agent, session_id, request_id)
  values (p_company, v_user.id, private.personal_digest(p_company, v_user.id, v_user.email),
    coalesce(p_role, v_user.role), p_action, p_resource_type, p_resource_id, v_details,
    network(set_masklen(v_address, case family(v_address) when 4 then 24 else 48 end)),
    private.personal_digest(p_company, v_user.id, v_trail ->> 'user_agent'), left(v_trail ->> 'session_id', 255),
    left(v_trail ->> 'request_id', 255));
end $$;
comment on function private.write_audit(uuid, public.audit_action_enum, text, uuid, jsonb, uuid, public.user_role_enum, jsonb) is
  'Writes one audit row; the actor and the client come from the transaction (claims, request.audit). Triggers call it, and definers whose work is more than changed rows (archive, erasure, export). Security definer, called by other definers only, because no role may insert audit rows directly.';

create function private.audit_action(p_table text, p_operation text, p_old jsonb, p_new jsonb)
returns public.audit_action_enum
language sql stable set search_path = '' as $$
  select case
    when p_table = 'login_sessions' and p_operation = 'INSERT' then 'login'
    when p_table = 'login_sessions' and p_operation = 'DELETE'
      and (p_old ->> 'expires_at')::timestamptz > now() then 'logout'
    when p_table = 'hitl_sessions' and p_operation = 'INSERT' then 'escalate_hitl'
    when p_table = 'hitl_sessions' and p_operation = 'UPDATE' and p_old ->> 'ended_at' is null
      and p_new ->> 'ended_at' is not null then 'resolve_hitl'
    when p_table = 'hitl_transfers' and p_operation = 'INSERT' then 'transfer'
    when p_table = 'documents' and p_operation = 'INSERT' then 'upload_document'
    when p_table = 'integrations' and p_operation = 'UPDATE'
      and p_old ->> 'last_sync_at' is distinct from p_new ->> 'last_sync_at' then 'integration_sync'
    when p_table in ('chatbot_operators', 'chatbot_supervisors') then case
      when p_operation = 'DELETE' or p_new ->> 'is_active' = 'false' then 'unassign'
      else 'assign' end
    when p_operation = 'INSERT' then 'create'
    when p_operation = 'DELETE' then 'delete'
    else 'update' end::public.audit_action_enum
$$;
grant execute on function private.audit_action(text, text, jsonb, jsonb) to neurant_router;

create function private.audit_changed_columns(
  p_company uuid, p_subject uuid, p_row jsonb, p_other jsonb, p_shown text[], p_digest text[])
returns jsonb
language sql volatile security definer set search_path = '' as $$
  select coalesce(jsonb_object_agg(c.key, case
      when c.key = any (p_shown) then c.value
      else to_jsonb(private.personal_digest(p_company, p_subject, c.value #>> '{}')) end), '{}')
  from jsonb_each(p_row) c
  where c.value is distinct from coalesce(p_other -> c.key, 'null')
    and (c.key = any (p_shown) or c.key = any (p_digest))
$$;
comment on function private.audit_changed_columns(uuid, uuid, jsonb, jsonb, text[], text[]) is
  'Returns, for one side of a change, the columns that differ from the other side, as the audit log stores them. Security definer, called by other definers only, because it makes digests, which need the salts.';

create function private.audit_change() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_old jsonb := case when tg_op = 'INSERT' then '{}' else to_jsonb(old) end;
  v_new jsonb := case when tg_op = 'DELETE' then '{}' else to_jsonb(new) end;
  v_row jsonb := case when tg_op = 'DELETE' then v_old else v_new end;
  v_company uuid := v_row ->> case tg_table_name when 'companies' then 'id' else 'company_id' end;
  v_subject uuid := v_row ->> tg_argv[0];
  v_before jsonb;
  v_after jsonb;
  v_hidden jsonb;
  v_actor uuid;
begin
  -- A takeover that has ended comes and goes with its conversation; the archive keeps the manifest.
  if tg_table_name in ('hitl_sessions', 'hitl_transfers') and tg_op <> 'UPDATE'
    and (v_row ->> 'ended_at' is not null or v_row ->> 'decided_at' is not null) then
    return null;
  end if;
  v_before := private.audit_changed_columns(
    v_company, v_subject, v_old, v_new, tg_argv[1]::text[], tg_argv[2]::text[]);
  v_after := private.audit_changed_columns(
    v_company, v_subject, v_new, v_old, tg_argv[1]::text[], tg_argv[2]::text[]);
  select jsonb_agg(h order by h) into v_hidden from unnest(tg_argv[3]::text[]) h
  where coalesce(v_old -> h, 'null') is distinct from coalesce(v_new -> h, 'null');
  if tg_table_name = 'login_sessions' and (tg_op = 'INSERT'
    or tg_op = 'DELETE' and session_user = 'neurant_app' and current_setting('role') = 'none') then
    v_actor := v_row ->> 'user_id';  -- who signs in or out is nobody to the database
  end if;
  perform private.write_audit(
    v_company, private.audit_action(tg_table_name, tg_op, v_old, v_new), tg_table_name,
    (v_row ->> 'id')::uuid,
    jsonb_build_object('before', v_before, 'after', v_after)
      || jsonb_strip_nulls(jsonb_build_object('hidden', v_hidden)),
    p_actor => v_actor,
    p_role => case when tg_table_name = 'users' and tg_op = 'UPDATE'
      and private.claims() ->> 'sub' = v_old ->> 'auth_user_id'
      then (v_old ->> 'role')::public.user_role_enum end,
    p_trail => case when tg_table_name = 'login_sessions' then jsonb_strip_nulls(jsonb_build_object(
      'ip', v_row -> 'ip_address', 'user_agent', v_row -> 'user_agent', 'session_id', v_row -> 'id'))
      else '{}' end);
  return null;
end $$;
comment on function private.audit_change() is
  'Writes an audit row for a change. Trigger arguments: the column that names the subject of the personal columns; the columns that are shown, digested, hidden (only the fact of a change is recorded) and left out (a change of these alone is not recorded). Security definer, called by a trigger, because no role may insert audit rows directly.';

create function private.audit_table(
  p_table regclass, p_subject text, p_shown text[], p_digest text[], p_hidden text[], p_left_out text[])
returns void
language plpgsql set search_path = '' as $$
declare
  v_call text := format('private.audit_change(%L, %L, %L, %L, %L)',
    p_subject, p_shown, p_digest, p_hidden, p_left_out);
  v_changed text := (
    select string_agg(format('old.%1$I is distinct from new.%1$I', a.attname), ' or ' order by a.attnum)
    from pg_catalog.pg_attribute a
    where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
      and a.attname = any (p_shown || p_digest || p_hidden));
begin
  execute format('create or replace trigger audit_rows after insert or delete on %s
    for each row execute function %s', p_table, v_call);
  execute format('create or replace trigger audit_changes after update on %s
    for each row when (%s) execute function %s', p_table, v_changed, v_call);
end $$;
comment on function private.audit_table(regclass, text, text[], text[], text[], text[]) is
  'For migrations: audits every change of this table from now on. A test requires each column to be in one of the lists.';

create function private.audit_column(p_table regclass, p_column text, p_treatment text) returns void
language plpgsql set search_path = '' as $$
declare
  v_lists text[] := (
    select string_to_array(encode(t.tgargs, 'escape'), '\000')
    from pg_catalog.pg_trigger t where t.tgrelid = p_table and t.tgname = 'audit_rows');
  v_treatments text[] := '{subject,shown,digest,hidden,left_out}';
begin
  for i in 2 .. 5 loop
    v_lists[i] := array_remove(v_lists[i]::text[], p_column)
      || case when v_treatments[i] = p_treatment then array[p_column] else '{}' end;
  end loop;
  perform private.audit_table(p_table, v_lists[1], v_lists[2]::text[], v_lists[3]::text[],
    v_lists[4]::text[], v_lists[5]::text[]);
end $$;
comment on function private.audit_column(regclass, text, text) is
  'For migrations that add a column to an audited table: p_treatment is shown (numbers, times, ids, values of a short list), digest (personal data and free text), hidden (secrets) or left_out (counters).';

create function private.refuse_change() returns trigger
language plpgsql set search_path = '' as $$
begin
  raise exception '% is only appended to', tg_table_name using errcode = 'insufficient_privilege';
end $$;

create trigger refuse_change before update or delete or truncate on public.audit_logs
  for each statement execute function private.refuse_change();

create function private.note_export(p_what text, p_format text) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('data.export');
begin
  if v_company is null then
    return false;
  end if;
  perform private.write_audit(v_company, 'export', p_what, null,
    jsonb_build_object('format', p_format));
  return true;
end $$;
comment on function private.note_export(text, text) is
  'Writes into the audit log that the caller begins an export. Returns false if the caller lacks the permission. Security definer, called by staff and API keys, because no role may insert audit rows directly.';
grant execute on function private.note_export(text, text) to authenticated;
