-- migrate:up
-- The people who write to a company, and forgetting one of them, or one of the staff, for good.
set local role neurant_owner;

create table public.contacts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  chatbot_id uuid not null,
  end_user_id varchar(255) not null,
  channel public.conversation_channel_enum not null,
  name varchar(255),
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  erased_at timestamptz,
  primary key (company_id, id),
  unique (company_id, channel_account_id, end_user_id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (last_seen_at >= first_seen_at),
  check (erased_at is null or name is null)
);
comment on table public.contacts is
  'One row for each person on a channel, kept from conversations when one begins and when it ends: never by a message.';
create index contacts_chatbot_idx on public.contacts (company_id, chatbot_id, last_seen_at desc);

create function private.keep_contact() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.contacts as k (company_id, channel_account_id, chatbot_id, end_user_id,
    channel, name, first_seen_at, last_seen_at)
  values (new.company_id, new.channel_account_id, new.chatbot_id, new.end_user_id, new.channel,
    new.end_user_name, least(new.started_at, new.last_message_at),
    greatest(new.started_at, new.last_message_at))
  on conflict (company_id, channel_account_id, end_user_id) do update
  set first_seen_at = least(k.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(k.last_seen_at, excluded.last_seen_at),
    name = case
      when k.erased_at is not null then null
      when excluded.last_seen_at >= k.last_seen_at then coalesce(excluded.name, k.name)
      else coalesce(k.name, excluded.name) end;
  return null;
end $$;
comment on function private.keep_contact() is
  'Definer: nobody writes contacts by hand; they follow conversations.';

-- Per row: ingest's upsert fires it only for conversations that are new, not for every batch.
create trigger keep_contact after insert on public.conversations
  for each row execute function private.keep_contact();
create trigger keep_contact_at_end after update of status on public.conversations
  for each row when (old.status = 'active' and new.status <> 'active')
  execute function private.keep_contact();

create function private.my_contact_ids() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(k.id), '{}')
  from public.conversations c
  join public.contacts k on k.company_id = c.company_id
    and k.channel_account_id = c.channel_account_id and k.end_user_id = c.end_user_id
  where c.company_id = (select private.company_id())
    and c.assigned_operator_id = (select private.user_id())
$$;
comment on function private.my_contact_ids() is
  'Those who write in the conversations that are assigned to the caller now. Definer: the policy of contacts rests on it.';

create function private.record_erasure(p_company uuid, p_kind text, p_subject uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  if to_regprocedure('private.shred_audit_subject(uuid, uuid)') is not null then
    execute 'select private.shred_audit_subject($1, $2)' using p_company, p_subject;
  end if;
  if exists (select from pg_catalog.pg_proc p
    where p.pronamespace = 'private'::regnamespace and p.proname = 'write_audit') then
    execute 'select private.write_audit($1, ''erase'', $2, $3, ''{}'')'
      using p_company, p_kind, p_subject;
  end if;
end $$;
comment on function private.record_erasure(uuid, text, uuid) is
  'What audit knows of an erased subject can no longer be matched to anybody, and that it was erased is written down. Definer: called by the definers of erasure.';

create function private.end_for_erasure(p_company uuid, p_conversation uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = p_company and t.conversation_id = p_conversation and t.status = 'pending';
  update public.hitl_sessions s
  set status = 'abandoned', ended_at = now(), ended_by = (select private.user_id())
  where s.company_id = p_company and s.conversation_id = p_conversation and s.ended_at is null;
  delete from public.reply_requests r
  where r.company_id = p_company and r.conversation_id = p_conversation;
  with stopped as (
    update public.outbox o
    set status = 'cancelled', claim_token = null, claimed_until = null
    where o.company_id = p_company and o.conversation_id = p_conversation
      and o.status in ('pending', 'sending')
    returning o.message_id
  )
  update public.messages m set status = 'cancelled'
  from stopped
  where m.company_id = p_company and m.id = stopped.message_id;
  update public.conversations c set status = 'abandoned'
  where c.company_id = p_company and c.id = p_conversation and c.status = 'active';
end $$;
comment on function private.end_for_erasure(uuid, uuid) is
  'Ends a conversation at once: nothing more is said in it. Definer: called by definers.';

create function private.overwrite_conversations(
  p_company uuid, p_conversations uuid[], p_suffix text, p_end_user text)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_statement text;
begin
  foreach v_statement in array array[
    'update public.conversations%s set end_user_id = $3, end_user_name = null,
      end_user_avatar = null, satisfaction_comment = null, context_data = ''{}'',
      conversation_summary = null, hitl_reason = null where company_id = $1 and id = any ($2)',
    -- What was answered tells as much about a person as what was asked.
    'update public.messages%s set content = ''[borrado]'', media_url = null, media_type = null,
      external_message_id = null, n8n_message_id = null, knowledge_sources = ''[]''
      where company_id = $1 and conversation_id = any ($2) and sender_type <> ''system''',
    'update public.hitl_sessions%s set reason_detail = null, resolution_notes = null
      where company_id = $1 and conversation_id = any ($2)',
    'update public.hitl_transfers%s set reason = ''[borrado]''
      where company_id = $1 and conversation_id = any ($2)',
    'update public.message_reactions%s set comment = null
      where company_id = $1 and conversation_id = any ($2)',
    'update public.knowledge_queries%s set query_text = ''[borrado]'', query_embedding = null
      where company_id = $1 and conversation_id = any ($2)',
    'update public.notes%s set content = ''[borrado]''
      where company_id = $1 and conversation_id = any ($2)',
    -- A channel's refusal often repeats the number that it refused.
    'update public.outbox%s set last_error = null
      where company_id = $1 and conversation_id = any ($2) and last_error is not null'
  ] loop
    execute format(v_statement, p_suffix) using p_company, p_conversations, p_end_user;
  end loop;
end $$;
comment on function private.overwrite_conversations(uuid, uuid[], text, text) is
  'Takes the person out of conversations and of all that hangs on them, in the live tables (suffix empty) or the archives; the rows stay and are counted as before. Definer: called by definers.';

create function private.erase_contact(p_contact uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_contact public.contacts;
  v_live uuid[];
  v_archived uuid[];
  v_words text;
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  select k.* into v_contact from public.contacts k
  where k.company_id = v_company and k.id = p_contact for update;
  if v_contact.id is null then
    return 'not_found';
  elsif v_contact.erased_at is not null then
    return 'erased_before';
  end if;
  select coalesce(array_agg(c.id), '{}') into v_live from (
    select c.id from public.conversations c
    where c.company_id = v_company and c.channel_account_id = v_contact.channel_account_id
      and c.end_user_id = v_contact.end_user_id
    order by c.id for update) c;
  select coalesce(array_agg(c.id), '{}') into v_archived from (
    select c.id from public.conversations_archived c
    where c.company_id = v_company and c.channel_account_id = v_contact.channel_account_id
      and c.end_user_id = v_contact.end_user_id
    order by c.id for update) c;
  perform private.end_for_erasure(v_company, i.id) from unnest(v_live) i (id);
  -- What other systems were asked for these conversations.
  update public.integration_logs l
  set request_data = null, response_data = null, error_message = null
  where l.company_id = v_company and (
    exists (select from public.messages m where m.company_id = l.company_id
      and m.id = l.triggered_by_message_id and m.conversation_id = any (v_live))
    or exists (select from public.messages_archived m where m.company_id = l.company_id
      and m.id = l.triggered_by_message_id and m.conversation_id = any (v_archived)));
  -- What the channel sent of this person and was set aside, raw: whoever's id stands in it as a word.
  v_words := '(^|[^0-9A-Za-z_])'
    || regexp_replace(v_contact.end_user_id, '([^0-9A-Za-z_])', '\\\1', 'g') || '($|[^0-9A-Za-z_])';
  delete from public.inbound_events e
  where e.company_id = v_company and e.channel_account_id = v_contact.channel_account_id
    and (encode(e.payload, 'escape') ~ v_words or e.external_id ~ v_words);
  delete from public.visitor_sessions v
  where v.company_id = v_company and v.channel_account_id = v_contact.channel_account_id
    and v.id::text = v_contact.end_user_id;
  perform private.overwrite_conversations(v_company, v_live, '', 'erased-' || p_contact);
  perform private.overwrite_conversations(
    v_company, v_archived, '_archived', 'erased-' || p_contact);
  -- Their changed messages bring these back, without the person.
  delete from public.conversation_search s
  where s.company_id = v_company and s.conversation_id = any (v_live);
  update public.contacts k
  set end_user_id = 'erased-' || p_contact, name = null, erased_at = now()
  where k.company_id = v_company and k.id = p_contact;
  perform private.record_erasure(v_company, 'contacts', i.id)
  from unnest(v_live || v_archived || p_contact) i (id);
  return 'erased';
end $$;
comment on function private.erase_contact(uuid) is
  'Owner or administrador have a person forgotten: erased, erased_before or not_found. What was said, names and identifiers are overwritten in the live tables and the archives; how much was said still counts. Definer: stored messages are nobody''s to write.';

create function private.erase_user(p_user uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user public.users;
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  select u.* into v_user from public.users u
  where u.company_id = v_company and u.id = p_user for update;
  if v_user.id is null then
    return 'not_found';
  elsif private.level(v_user.role) >= (select private.level(private.user_role())) then
    return 'forbidden';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id in (
    select s.conversation_id from public.hitl_sessions s
    where s.company_id = v_company and s.operator_id = p_user and s.ended_at is null)
  order by c.id for update;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = v_company and p_user in (t.from_user_id, t.to_user_id)
    and t.status = 'pending';
  update public.hitl_sessions s set status = 'pending', operator_id = null
  where s.company_id = v_company and s.operator_id = p_user and s.ended_at is null;
  update public.chatbot_operators o set is_active = false
  where o.company_id = v_company and o.operator_id = p_user and o.is_active;
  update public.api_keys k set revoked_at = coalesce(k.revoked_at, now())
  where k.company_id = v_company and k.created_by = p_user;
  -- First, while the address still tells which invitations were this person's.
  perform private.record_erasure(v_company, 'users', p_user);
  delete from public.chatbot_supervisors s
  where s.company_id = v_company and s.supervisor_id = p_user;
  delete from public.login_sessions s where s.company_id = v_company and s.user_id = p_user;
  delete from public.notifications n where n.company_id = v_company and n.user_id = p_user;
  delete from public.canned_responses r where r.company_id = v_company and r.owner_id = p_user;
  update public.user_invitations i
  set email = 'erased-' || i.id || '@erased.invalid', first_name = null, last_name = null
  where i.company_id = v_company and (i.accepted_by_user_id = p_user or i.email = v_user.email);
  update public.users u
  set email = 'erased-' || u.id || '@erased.invalid', first_name = 'Persona', last_name = 'borrada',
    avatar_url = null, phone = null, permissions = '{}', is_active = false, auth_user_id = null
  where u.company_id = v_company and u.id = p_user;
  -- The login goes with its last membership.
  delete from auth.users a
  where a.id = v_user.auth_user_id
    and not exists (select from public.users u where u.auth_user_id = a.id);
  return 'erased';
end $$;
comment on function private.erase_user(uuid) is
  'A member of the staff below the caller is forgotten: erased, forbidden or not_found. What the person did stays, by nobody in particular; open takeovers go back to the queue. Definer: it also takes the login away.';

alter table public.contacts enable row level security, force row level security;
create policy staff_select on public.contacts for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or id = any ((select private.my_contact_ids())::uuid[])));
create policy router_select on public.contacts for select to neurant_router using (true);
create policy router_insert on public.contacts for insert to neurant_router with check (true);
create policy router_update on public.contacts for update to neurant_router using (true) with check (true);
grant select on public.contacts to authenticated;
grant select, insert, update on public.contacts to neurant_router;

-- Erasure overwrites columns of these, and takes rows of those.
create policy router_update on public.messages_archived for update to neurant_router using (true) with check (true);
create policy router_update on public.hitl_sessions_archived for update to neurant_router using (true) with check (true);
create policy router_update on public.hitl_transfers_archived for update to neurant_router using (true) with check (true);
create policy router_update on public.message_reactions for update to neurant_router using (true) with check (true);
create policy router_update on public.message_reactions_archived for update to neurant_router using (true) with check (true);
create policy router_update on public.knowledge_queries for update to neurant_router using (true) with check (true);
create policy router_update on public.knowledge_queries_archived for update to neurant_router using (true) with check (true);
create policy router_update on public.notes for update to neurant_router using (true) with check (true);
create policy router_update on public.notes_archived for update to neurant_router using (true) with check (true);
create policy router_select on public.integration_logs for select to neurant_router using (true);
create policy router_update on public.integration_logs for update to neurant_router using (true) with check (true);
create policy router_delete on public.inbound_events for delete to neurant_router using (true);
create policy router_update on public.outbox_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.conversation_search for delete to neurant_router using (true);
create policy router_delete on public.visitor_sessions for delete to neurant_router using (true);
create policy router_delete on public.notifications for delete to neurant_router using (true);
create policy router_select on public.canned_responses for select to neurant_router using (true);
create policy router_delete on public.canned_responses for delete to neurant_router using (true);
grant update (end_user_id, end_user_name, end_user_avatar, satisfaction_comment, context_data,
  conversation_summary, hitl_reason) on public.conversations_archived to neurant_router;
grant update (content, media_url, media_type, external_message_id, n8n_message_id, knowledge_sources)
  on public.messages_archived to neurant_router;
grant update (reason_detail, resolution_notes) on public.hitl_sessions_archived to neurant_router;
grant update (reason) on public.hitl_transfers_archived to neurant_router;
grant update (comment) on public.message_reactions, public.message_reactions_archived
  to neurant_router;
grant update (query_text, query_embedding)
  on public.knowledge_queries, public.knowledge_queries_archived to neurant_router;
grant update (content) on public.notes, public.notes_archived to neurant_router;
grant select, update (request_data, response_data, error_message) on public.integration_logs
  to neurant_router;
grant update (last_error) on public.outbox_archived to neurant_router;
grant delete on public.inbound_events, public.visitor_sessions, public.notifications,
  public.conversation_search
  to neurant_router;
grant update (is_active) on public.chatbot_operators to neurant_router;
grant update (revoked_at) on public.api_keys to neurant_router;
grant select, delete on public.chatbot_supervisors, public.canned_responses to neurant_router;
grant update (email, first_name, last_name, avatar_url, phone, permissions, is_active, auth_user_id)
  on public.users to neurant_router;
grant delete on auth.users to neurant_router;

grant execute on function private.record_erasure(uuid, text, uuid),
  private.end_for_erasure(uuid, uuid),
  private.overwrite_conversations(uuid, uuid[], text, text) to neurant_router;
grant execute on function private.my_contact_ids(), private.erase_contact(uuid),
  private.erase_user(uuid) to authenticated;
alter function private.keep_contact() owner to neurant_router;
alter function private.my_contact_ids() owner to neurant_router;
alter function private.record_erasure(uuid, text, uuid) owner to neurant_router;
alter function private.end_for_erasure(uuid, uuid) owner to neurant_router;
alter function private.overwrite_conversations(uuid, uuid[], text, text) owner to neurant_router;
alter function private.erase_contact(uuid) owner to neurant_router;
alter function private.erase_user(uuid) owner to neurant_router;

reset role;

-- Those who have written before: as the migrating login, since the owner sees no rows.
insert into public.contacts as k (company_id, channel_account_id, chatbot_id, end_user_id, channel,
  name, first_seen_at, last_seen_at)
select c.company_id, c.channel_account_id, (array_agg(c.chatbot_id order by c.started_at desc))[1],
  c.end_user_id, (array_agg(c.channel))[1],
  (array_agg(c.end_user_name order by c.started_at desc)
    filter (where c.end_user_name is not null))[1],
  min(least(c.started_at, c.last_message_at)), max(greatest(c.started_at, c.last_message_at))
from public.conversations c
group by c.company_id, c.channel_account_id, c.end_user_id
on conflict do nothing;
-- migrate:down
