-- Erasure: of a contact, of a user, of a company.

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
  'Makes the audit rows of an erased subject unattributable, and writes the erasure itself into the audit log. Security definer, called by other definers only, because no role may insert audit rows directly.';

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
  'Ends a conversation at once, so that nothing more is written in it. Security definer, called by other definers only, because no role may write a conversation''s status directly.';

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
      external_message_id = null, n8n_message_id = null, knowledge_sources = ''[]'',
      explanation = null
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
  'Overwrites the personal data in conversations and all rows that belong to them, in the live tables (suffix empty) or the archives. The rows stay and are counted as before. Security definer, called by other definers only, because no role may write stored messages directly.';

create function private.erase_contact(p_contact uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('data.erase');
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
  'The owner or an administrador erases a contact. Texts, names and identifiers are overwritten in the live tables and the archives; the numbers of messages still count. Outcome: erased, erased_before or not_found. Security definer, called by staff and API keys, because no role may write stored messages directly.';
grant execute on function private.erase_contact(uuid) to authenticated;

create function private.erase_user(p_user uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid := private.company_id('data.erase');
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
  -- The login goes with its last membership. It stays where the company's provider brought the
  -- person here and the person proved the mailbox elsewhere: such a login is not the company's.
  delete from auth.users a
  where a.id = v_user.auth_user_id
    and not exists (select from public.users u where u.auth_user_id = a.id)
    and not (a.email_confirmed_at is not null and exists (
      select from public.external_identities i
      where i.company_id = v_company and i.user_id = p_user));
  return 'erased';
end $$;
comment on function private.erase_user(uuid) is
  'Erases a user below the caller. The person''s work stays, without a name; open takeovers return to the queue. Outcome: erased, forbidden or not_found. Security definer, called by staff and API keys, because it also deletes the login.';
grant execute on function private.erase_user(uuid) to authenticated;

create function private.erasure_order() returns table (place bigint, tenant_table regclass, key name)
language sql stable set search_path = '' as $$
  with recursive tenant as (
    select c.oid, case when c.relname = 'companies' then 'id' else 'company_id' end::name as key
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname not like 'audit\_%'
      and (c.relname = 'companies' or exists (select from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attname = 'company_id' and not a.attisdropped))
  ),
  deep (oid, depth) as (
    select t.oid, 0 from tenant t
    union
    select k.confrelid, d.depth + 1
    from deep d
    join pg_catalog.pg_constraint k on k.contype = 'f' and k.conrelid = d.oid
      and k.confrelid <> k.conrelid
    where d.depth < 100
  )
  select row_number() over (order by max(d.depth), t.oid), t.oid::regclass, t.key
  from tenant t join deep d on d.oid = t.oid
  group by t.oid, t.key
$$;
comment on function private.erasure_order() is
  'Returns all tenant tables except the audit, from the catalog, each before the tables that it refers to; companies is last.';

create function private.erase_company(p_company uuid, p_force boolean DEFAULT false, p_limit integer DEFAULT 5000, p_now timestamp with time zone DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_company public.companies;
  v_left bigint := p_limit;
  v_gone bigint;
  v_table record;
begin
  if not exists (select from pg_catalog.pg_roles r
    where r.rolname = current_user and (r.rolsuper or r.rolbypassrls)) then
    raise exception 'only the migrating login erases a company'
      using errcode = 'insufficient_privilege';
  end if;
  select c.* into v_company from public.companies c where c.id = p_company for update;
  if v_company.id is null then
    -- Triggers may have left something in a queue that the company's own row did not hold back.
    null;
  elsif not (p_force or v_company.subscription_status = 'cancelled'
    and coalesce(v_company.subscription_ends_at <= p_now - interval '30 days', false)) then
    raise exception 'the company has not been closed for 30 days' using errcode = 'NA004';
  else
    update public.companies c set subscription_status = 'cancelled'
    where c.id = p_company and c.subscription_status <> 'cancelled';
    if to_regprocedure('private.shred_audit_company(uuid)') is not null then
      execute 'select private.shred_audit_company($1)' using p_company;
    end if;
    delete from auth.users a using public.users u
    where u.company_id = p_company and a.id = u.auth_user_id
      and not exists (select from public.users other
        where other.auth_user_id = a.id and other.company_id <> p_company)
      -- Neither founded nor invited: the company's provider brought them. Where they proved the
      -- mailbox themselves, the login is not the company's.
      and not (a.email_confirmed_at is not null and not u.is_owner
        and u.accepted_invitation_at is null);
  end if;
  delete from jobs.procrastinate_jobs j
  where j.args ->> 'company_id' = p_company::text and j.status <> 'doing';
  for v_table in
    select t.* from private.erasure_order() t order by t.place
  loop
    execute format(
      'delete from %1$s where ctid = any (array(select ctid from %1$s where %2$I = $1 limit $2))',
      v_table.tenant_table, v_table.key)
    using p_company, case
      -- Rows that refer to one another go at once.
      when exists (select from pg_catalog.pg_constraint k where k.contype = 'f'
        and k.conrelid = v_table.tenant_table and k.confrelid = k.conrelid) then null
      -- The company itself only when nothing else was left.
      when v_table.tenant_table = 'public.companies'::regclass and v_left < p_limit then 0
      else v_left end;
    get diagnostics v_gone = row_count;
    v_left := v_left - v_gone;
    exit when v_left <= 0;
  end loop;
  return p_limit - v_left;
end $_$;
comment on function private.erase_company(uuid, boolean, integer, timestamptz) is
  'Deletes about p_limit rows of a company that has been closed for 30 days (or of any company, with p_force); returns the number. Call it, each time in a transaction of its own, until it returns 0; a crash in between loses nothing. Only the migrating login may call it, and it is no security definer, so that no role that serves traffic may delete companies.';
