-- migrate:up
-- Who may do what, in one table; what a person or a key may not do besides; and who is calling.
set local role neurant_owner;

create table public.permissions (
  name text primary key check (name ~ '^[a-z_]+\.[a-z_]+$'),
  position smallint not null unique,
  owner text not null,
  administrador text not null,
  supervisor text not null,
  operador text not null,
  is_read boolean not null,
  is_narrowable boolean not null default true,
  for_keys text not null default 'by_scope' check (for_keys in ('always', 'by_scope', 'never')),
  check (array[owner, administrador, supervisor, operador]
    <@ '{all,below,juniors,colleagues,bots,own,self,none}'),
  check (operador = 'none' or supervisor <> 'none'),
  check (supervisor = 'none' or administrador <> 'none'),
  check (administrador = 'none' or owner <> 'none')
);
comment on table public.permissions is
  'Platform table: the one source of who may do what. Every policy of the staff and every definer that they call names one of these; the API and the page of permissions show it.';
comment on column public.permissions.operador is
  'Whose: all of the company''s; below (people of lower roles); juniors (supervisors and operadores); colleagues (of the bots they serve); bots (assigned to them, and what hangs on those); own; self; none.';
comment on column public.permissions.is_read is 'Changes nothing: also in a company that is closed or unpaid.';
comment on column public.permissions.is_narrowable is 'Whether it can be taken from a single person.';

insert into public.permissions
  (position, name, owner, administrador, supervisor, operador, is_read, is_narrowable, for_keys)
values
  (1, 'company.read', 'all', 'all', 'all', 'all', true, false, 'always'),
  (2, 'company.edit', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (3, 'company.transfer', 'all', 'none', 'none', 'none', false, false, 'never'),
  (4, 'company.close', 'all', 'none', 'none', 'none', false, false, 'never'),
  (5, 'billing.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  -- Whoever cannot pay any more must be able to pay again.
  (6, 'billing.manage', 'all', 'none', 'none', 'none', true, false, 'never'),
  (10, 'users.read', 'all', 'all', 'juniors', 'self', true, true, 'by_scope'),
  (11, 'team.read', 'all', 'all', 'all', 'colleagues', true, true, 'by_scope'),
  (12, 'profile.edit', 'self', 'self', 'self', 'self', false, false, 'never'),
  (13, 'users.manage', 'below', 'below', 'none', 'none', false, true, 'by_scope'),
  (14, 'invitations.read', 'below', 'below', 'none', 'none', true, true, 'by_scope'),
  (15, 'invitations.manage', 'below', 'below', 'none', 'none', false, true, 'by_scope'),
  (16, 'notifications.read', 'self', 'self', 'self', 'self', true, false, 'never'),
  (20, 'api_keys.read', 'all', 'all', 'none', 'none', true, true, 'never'),
  (21, 'api_keys.manage', 'all', 'all', 'none', 'none', false, true, 'never'),
  (22, 'webhooks.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (23, 'webhooks.manage', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (24, 'integrations.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (25, 'integrations.manage', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (26, 'sso.read', 'all', 'all', 'none', 'none', true, true, 'never'),
  (27, 'sso.manage', 'all', 'none', 'none', 'none', false, false, 'never'),
  (30, 'channels.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (31, 'channels.manage', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (32, 'chatbots.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (33, 'chatbots.edit', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (34, 'chatbots.retire', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (35, 'chatbots.assign_operators', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (36, 'chatbots.assign_supervisor', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (37, 'templates.read', 'all', 'all', 'all', 'all', true, false, 'always'),
  (40, 'conversations.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (41, 'conversations.reply', 'all', 'all', 'all', 'bots', false, true, 'by_scope'),
  (42, 'conversations.transfer', 'all', 'all', 'all', 'bots', false, true, 'by_scope'),
  (43, 'conversations.assign', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (44, 'conversations.import', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (45, 'canned_responses.read', 'all', 'all', 'all', 'all', true, true, 'by_scope'),
  (46, 'canned_responses.edit', 'all', 'all', 'all', 'own', false, true, 'by_scope'),
  (50, 'documents.read', 'all', 'all', 'all', 'all', true, true, 'by_scope'),
  (51, 'documents.edit', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (60, 'analytics.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (61, 'metrics.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (62, 'audit.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (70, 'data.export', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (71, 'data.erase', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (72, 'data.restore', 'all', 'all', 'none', 'none', false, true, 'by_scope');

alter table public.permissions enable row level security, force row level security;
create policy everybody_select on public.permissions for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.permissions to authenticated, neurant_worker, neurant_router;

create function private.permits(
  p public.permissions, p_role public.user_role_enum, p_denied jsonb,
  p_status public.subscription_status_enum)
returns boolean
language sql immutable set search_path = '' as $$
  select 'none' <> case p_role
      when 'owner' then (p).owner
      when 'administrador' then (p).administrador
      when 'supervisor' then (p).supervisor
      else (p).operador end
    and not p_denied ? (p).name
    and ((p).is_read or p_status in ('active', 'trialing', 'past_due'))
$$;
comment on function private.permits(
  public.permissions, public.user_role_enum, jsonb, public.subscription_status_enum) is
  'Whether a role has a permission, of which a person may be denied some, in a company of this state; how far it goes, the policies say.';
grant execute on function private.permits(
  public.permissions, public.user_role_enum, jsonb, public.subscription_status_enum)
  to neurant_router;

-- What a single person may not do: {"documents.edit": false}. It can only take away.
alter table public.users add constraint users_permissions_narrow_check check (
  not jsonb_path_exists(permissions, '$.* ? (@ != false)')) not valid;
alter table public.users add constraint users_owner_unnarrowed_check check (
  not is_owner or permissions = '{}') not valid;
comment on column public.users.permissions is
  'What this person may not do although the role may, as {"<permission>": false}. Written by set_user_permissions().';

alter table public.api_keys
  add column scopes text[] not null default '{}' check (array_position(scopes, null) is null);
comment on column public.api_keys.scopes is
  'The permissions that the key has at most; its role and its maker set the bound.';
comment on table public.api_keys is
  'Keys for programs. A key acts as its maker, within its scopes, and never above either: it is as strong as the weaker of both roles, and dies with the maker''s account.';
alter table public.api_keys drop constraint api_keys_role_check;
alter table public.api_keys add constraint api_keys_role_check
  check (role in ('administrador', 'supervisor', 'operador'));
grant select (scopes), insert (scopes) on public.api_keys to authenticated;
select private.audit_column('public.api_keys', 'scopes', 'shown');
select private.audit_column('public.users', 'permissions', 'shown');

create function private.check_key_scopes() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (
    select from unnest(new.scopes) as s (name)
    where s.name not in (select p.name from public.permissions p where p.for_keys = 'by_scope')
  ) then
    raise exception 'a scope is a permission that keys may have' using errcode = 'check_violation',
      column = 'scopes';
  end if;
  return new;
end $$;
comment on function private.check_key_scopes() is
  'Definer: the rule holds whoever makes the key.';
create trigger check_key_scopes before insert or update of scopes on public.api_keys
  for each row execute function private.check_key_scopes();
alter function private.check_key_scopes() owner to neurant_router;

create function private.company_id(p_permission text) returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_company uuid;
begin
  if current_setting('role') <> 'authenticated' then
    return private.company_id();
  end if;
  if v_claims ->> 'key_id' is null then
    select u.company_id into v_company
    from public.users u
    join public.companies c on c.id = u.company_id
    join public.permissions p on p.name = p_permission
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid
      and u.is_active
      and (select private.permits(p, u.role, u.permissions, c.subscription_status));
  else
    select k.company_id into v_company
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    join public.companies c on c.id = k.company_id
    join public.permissions p on p.name = p_permission
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active
      and (p.for_keys = 'always' or p.for_keys = 'by_scope' and p_permission = any (k.scopes))
      and (select private.permits(
        p, greatest(k.role, maker.role), maker.permissions, c.subscription_status));
  end if;
  return v_company;
end $$;
comment on function private.company_id(text) is
  'The company that the caller acts for, if the caller may do this there: by role, by what the person may not do, by the scopes of a key, and by the state of the company, which only reads when it is closed or unpaid. Everybody who is no staff: as company_id(). Definer: it looks into tables that the caller may not read.';
grant execute on function private.company_id(text)
  to neurant_router, authenticated, neurant_worker, visitor;
alter function private.company_id(text) owner to neurant_router;

create function private.my_permissions() returns setof text
language sql stable security definer set search_path = '' as $$
  select p.name from public.permissions p
  where private.company_id(p.name) is not null
  order by p.position
$$;
comment on function private.my_permissions() is
  'What the caller may do at this moment. Definer, as company_id().';
grant execute on function private.my_permissions() to authenticated;
alter function private.my_permissions() owner to neurant_router;

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
  'What somebody below the caller may not do, all of it: changed, unchanged, not_narrowable (an unknown permission, or one that cannot be taken away), forbidden or not_found. Definer: nobody may write this by hand.';
grant execute on function private.set_user_permissions(uuid, text[]) to authenticated;
alter function private.set_user_permissions(uuid, text[]) owner to neurant_router;
grant update (permissions) on public.users to neurant_router;

-- Each policy of the staff names the permission that it is about.
alter policy staff_select on public.analytics_daily
  using (company_id = (select private.company_id('analytics.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
alter policy staff_insert on public.api_keys
  with check (company_id = (select private.company_id('api_keys.manage'))
    and created_by = (select private.user_id()));
alter policy staff_select on public.api_keys
  using (company_id = (select private.company_id('api_keys.read')));
alter policy staff_update on public.api_keys
  using (company_id = (select private.company_id('api_keys.manage')))
  with check (company_id = (select private.company_id('api_keys.manage')));
alter policy staff_select on public.archive_batches
  using (company_id = (select private.company_id('data.export')));
alter policy staff_select on public.audit_chains
  using (company_id = (select private.company_id('audit.read')));
alter policy staff_select on public.audit_logs
  using (company_id = (select private.company_id('audit.read')));
alter policy staff_select on public.audit_seals
  using (company_id = (select private.company_id('audit.read')));
alter policy staff_delete on public.canned_responses
  using (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
alter policy staff_insert on public.canned_responses
  with check (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
alter policy staff_select on public.canned_responses
  using (company_id = (select private.company_id('canned_responses.read'))
    and (owner_id is null or owner_id = (select private.user_id())));
alter policy staff_update on public.canned_responses
  using (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))))
  with check (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
alter policy staff_insert on public.channel_accounts
  with check (company_id = (select private.company_id('channels.manage')));
alter policy staff_select on public.channel_accounts
  using (company_id = (select private.company_id('channels.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
alter policy staff_update on public.channel_accounts
  using (company_id = (select private.company_id('channels.manage')))
  with check (company_id = (select private.company_id('channels.manage')));
alter policy staff_insert on public.chatbot_operators
  with check (company_id = (select private.company_id('chatbots.assign_operators'))
    and assigned_by = (select private.user_id()));
alter policy staff_select on public.chatbot_operators
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots()) or operator_id = (select private.user_id())));
alter policy staff_update on public.chatbot_operators
  using (company_id = (select private.company_id('chatbots.assign_operators')))
  with check (company_id = (select private.company_id('chatbots.assign_operators')));
alter policy staff_delete on public.chatbot_supervisors
  using (company_id = (select private.company_id('chatbots.assign_supervisor')));
alter policy staff_insert on public.chatbot_supervisors
  with check (company_id = (select private.company_id('chatbots.assign_supervisor'))
    and assigned_by = (select private.user_id()));
alter policy staff_select on public.chatbot_supervisors
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
alter policy staff_insert on public.chatbots
  with check (company_id = (select private.company_id('chatbots.edit'))
    and created_by = (select private.user_id()));
alter policy staff_select on public.chatbots
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots())
      or id = any ((select private.my_chatbot_ids())::uuid[])));
alter policy staff_update on public.chatbots
  using (company_id = (select private.company_id('chatbots.edit')))
  with check (company_id = (select private.company_id('chatbots.edit')));
alter policy staff_select on public.companies
  using (id = (select private.company_id('company.read')));
alter policy staff_update on public.companies
  using (id = (select private.company_id('company.edit')))
  with check (id = (select private.company_id('company.edit')));
-- Whoever may keep a secret of the company reads its key; a new one is made before it is needed.
alter policy staff_select on public.company_keys
  using (company_id = (select private.company_id('company.read'))
    and (select private.manages_company()));
alter policy staff_select on public.contacts
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or id = any ((select private.my_contact_ids())::uuid[])));
alter policy staff_select on public.conversations
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or assigned_operator_id = (select private.user_id())));
alter policy staff_select on public.conversations_archived
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or assigned_operator_id = (select private.user_id())));
alter policy staff_select on public.document_chunks
  using (company_id = (select private.company_id('documents.read')));
alter policy staff_insert on public.documents
  with check (company_id = (select private.company_id('documents.edit'))
    and uploaded_by = (select private.user_id()));
alter policy staff_select on public.documents
  using (company_id = (select private.company_id('documents.read')));
alter policy staff_update on public.documents
  using (company_id = (select private.company_id('documents.edit')))
  with check (company_id = (select private.company_id('documents.edit')));
alter policy staff_select on public.hitl_sessions
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
alter policy staff_select on public.hitl_sessions_archived
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
alter policy staff_select on public.hitl_transfers
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())));
alter policy staff_select on public.hitl_transfers_archived
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())));
alter policy staff_select on public.inbound_events
  using (company_id = (select private.company_id('channels.read'))
    and (select private.manages_company()));
alter policy staff_select on public.integration_logs
  using (company_id = (select private.company_id('integrations.read')));
alter policy staff_insert on public.integrations
  with check (company_id = (select private.company_id('integrations.manage'))
    and created_by = (select private.user_id()));
alter policy staff_select on public.integrations
  using (company_id = (select private.company_id('integrations.read')));
alter policy staff_update on public.integrations
  using (company_id = (select private.company_id('integrations.manage')))
  with check (company_id = (select private.company_id('integrations.manage')));
alter policy staff_select on public.knowledge_queries
  using (company_id = (select private.company_id('documents.read')));
alter policy staff_select on public.knowledge_queries_archived
  using (company_id = (select private.company_id('documents.read')));
alter policy staff_delete on public.message_reactions
  using (company_id = (select private.company_id('conversations.reply'))
    and reacted_by_user_id = (select private.user_id()));
alter policy staff_insert on public.message_reactions
  with check (company_id = (select private.company_id('conversations.reply'))
    and reacted_by_user_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
alter policy staff_select on public.message_reactions
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
alter policy staff_select on public.message_reactions_archived
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
alter policy staff_insert on public.messages
  with check (company_id = (select private.company_id('conversations.reply'))
    and sender_type = 'human'
    and sender_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
alter policy staff_select on public.messages
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
alter policy staff_select on public.messages_archived
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
alter policy staff_insert on public.notes
  with check (company_id = (select private.company_id('conversations.reply'))
    and author_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
alter policy staff_select on public.notes
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
alter policy staff_select on public.notes_archived
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
alter policy staff_select on public.notifications
  using (company_id = (select private.company_id('notifications.read'))
    and user_id = (select private.user_id()));
alter policy staff_update on public.notifications
  using (company_id = (select private.company_id('profile.edit'))
    and user_id = (select private.user_id()))
  with check (company_id = (select private.company_id('profile.edit'))
    and user_id = (select private.user_id()));
alter policy staff_select on public.outbox
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations c
      where c.company_id = outbox.company_id and c.id = outbox.conversation_id));
alter policy staff_select on public.outbox_archived
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations_archived c
      where c.company_id = outbox_archived.company_id and c.id = outbox_archived.conversation_id));
alter policy staff_select on public.plan_alerts
  using (company_id = (select private.company_id('billing.read')));
alter policy staff_select on public.reply_requests
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations c
      where c.company_id = reply_requests.company_id and c.id = reply_requests.conversation_id));
alter policy staff_select on public.system_metrics
  using (company_id = (select private.company_id('metrics.read')));
alter policy staff_select on public.user_invitations
  using (company_id = (select private.company_id('invitations.read'))
    and role > (select private.user_role()));
alter policy staff_select on public.users
  using (company_id = (select private.company_id('users.read'))
    and ((select private.manages_company())
      or id = (select private.user_id())
      or ((select private.user_role()) = 'supervisor' and role in ('supervisor', 'operador'))));
alter policy staff_update on public.users
  using (company_id = (select private.company_id('profile.edit'))
    and id = (select private.user_id()))
  with check (company_id = (select private.company_id('profile.edit'))
    and id = (select private.user_id()));
alter policy staff_select on public.webhook_deliveries
  using (company_id = (select private.company_id('webhooks.read')));
alter policy staff_insert on public.webhook_endpoints
  with check (company_id = (select private.company_id('webhooks.manage'))
    and created_by = (select private.user_id()));
alter policy staff_select on public.webhook_endpoints
  using (company_id = (select private.company_id('webhooks.read')));
alter policy staff_update on public.webhook_endpoints
  using (company_id = (select private.company_id('webhooks.manage')))
  with check (company_id = (select private.company_id('webhooks.manage')));

-- A key acts as its maker; and who somebody is does not depend on what the company has paid.
set local role neurant_router;

create or replace function private.user_id() returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_user uuid;
begin
  if current_setting('role') <> 'authenticated' then
    return null;
  end if;
  if v_claims ->> 'key_id' is null then
    select u.id into v_user
    from public.users u
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid and u.is_active;
  else
    select maker.id into v_user
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active;
  end if;
  return v_user;
end $$;

create or replace function private.user_role() returns public.user_role_enum
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_role public.user_role_enum;
begin
  if current_setting('role') <> 'authenticated' then
    return null;
  end if;
  if v_claims ->> 'key_id' is null then
    select u.role into v_role
    from public.users u
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid and u.is_active;
  else
    select greatest(k.role, maker.role) into v_role  -- the enum runs from the strongest to the weakest
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active;
  end if;
  return v_role;
end $$;

create or replace function private.my_chatbot_ids() returns uuid[]
language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.user_id();
begin
  return coalesce((
    select array_agg(o.chatbot_id)
    from public.chatbot_operators o
    where o.company_id = (select (private.claims() ->> 'company_id')::uuid)
      and o.operator_id = v_user and o.is_active), '{}');
end $$;

create or replace function private.my_conversation_ids() returns uuid[]
language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.user_id();
begin
  return coalesce((
    select array_agg(x.id)
    from public.conversations x
    where x.company_id = (select (private.claims() ->> 'company_id')::uuid)
      and x.assigned_operator_id = v_user), '{}');
end $$;

-- Ownership comes whole.
create or replace function private.transfer_ownership(p_to uuid) returns text
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

-- What the staff calls names its permission, as the policies do. Their text is otherwise as it was.
do $$
declare
  v_function record;
begin
  for v_function in
    select p.oid, n.permission
    from (values
      ('assign_conversation', 'conversations.assign'),
      ('audit_digest_of', 'audit.read'),
      ('can_work_on', 'conversations.reply'),
      ('cancel_invitation', 'invitations.manage'),
      ('cancel_plan_change', 'billing.manage'),
      ('change_plan', 'billing.manage'),
      ('close_company', 'company.close'),
      ('decide_transfer', 'conversations.transfer'),
      ('erase_contact', 'data.erase'),
      ('erase_user', 'data.erase'),
      ('invite_user', 'invitations.manage'),
      ('message_usage', 'company.read'),
      ('my_archived_conversation_ids', 'conversations.read'),
      ('my_contact_ids', 'conversations.read'),
      ('operator_name', 'conversations.read'),
      ('renew_invitation', 'invitations.manage'),
      ('request_transfer', 'conversations.transfer'),
      ('resend_message', 'conversations.reply'),
      ('resolve_conversation', 'conversations.reply'),
      ('restore_conversation', 'data.restore'),
      ('retire_chatbot', 'chatbots.retire'),
      ('search_chatbots', 'chatbots.read'),
      ('search_chunks', 'documents.read'),
      ('search_conversations', 'conversations.read'),
      ('search_documents', 'documents.read'),
      ('set_user_active', 'users.manage'),
      ('set_user_role', 'users.manage'),
      ('take_conversation', 'conversations.reply'),
      ('team_directory', 'team.read'),
      ('usage', 'company.read')) as n (name, permission)
    join pg_proc p on p.proname = n.name and p.pronamespace = 'private'::regnamespace
  loop
    execute replace(pg_get_functiondef(v_function.oid), 'private.company_id()',
      format('private.company_id(%L)', v_function.permission));
  end loop;
end $$;

reset role;
-- migrate:down
