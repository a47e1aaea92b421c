-- Archives: finished conversations, with all the rows that belong to them.

-- Without checks, because old rows were written under the rules of their time and must always fit.
create table public.conversations_archived (
  like public.conversations,
  primary key (company_id, id),
  unique (company_id, id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, assigned_operator_id) references public.users (company_id, id),
  constraint conversations_end_check check (ended_at >= started_at),
  constraint conversations_counts_check check (
    message_count >= 0 and bot_message_count >= 0 and human_message_count >= 0)
);
comment on table public.conversations_archived is
  'Exactly the columns of conversations; the same holds for every table *_archived. Only private.archive_old_data fills them.';
create index conversations_archived_end_user_idx on public.conversations_archived
  (company_id, channel_account_id, end_user_id, started_at desc);
create index conversations_archived_chatbot_idx
  on public.conversations_archived (company_id, chatbot_id, last_message_at desc);
create index conversations_archived_operator_idx
  on public.conversations_archived (company_id, assigned_operator_id)
  where assigned_operator_id is not null;
create index conversations_archived_started_idx
  on public.conversations_archived (company_id, started_at);
create index conversations_archived_ended_idx on public.conversations_archived (company_id, ended_at)
  where ended_at is not null;

alter table public.conversations_archived enable row level security, force row level security;
create policy staff_select on public.conversations_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or assigned_operator_id = (select private.user_id())));
create policy router_select on public.conversations_archived for select to neurant_router using (true);
create policy router_insert on public.conversations_archived for insert to neurant_router with check (true);
create policy router_update on public.conversations_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.conversations_archived for delete to neurant_router using (true);
grant select on public.conversations_archived to authenticated;
grant select, insert, delete on public.conversations_archived to neurant_router;
grant update (id, end_user_id, end_user_name, end_user_avatar, hitl_reason, satisfaction_comment,
  context_data, conversation_summary) on public.conversations_archived to neurant_router;

create table public.messages_archived (
  like public.messages,
  primary key (company_id, id),
  unique (company_id, conversation_id, seq),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, sender_id) references public.users (company_id, id),
  constraint messages_seq_check check (seq > 0),
  constraint messages_sources_check check (jsonb_typeof(knowledge_sources) = 'array')
);
create index messages_archived_newest_idx
  on public.messages_archived (company_id, created_at desc, id desc);
create index messages_archived_sender_idx
  on public.messages_archived (company_id, sender_id) where sender_id is not null;

alter table public.messages_archived enable row level security, force row level security;
create policy staff_select on public.messages_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.messages_archived for select to neurant_router using (true);
create policy router_insert on public.messages_archived for insert to neurant_router with check (true);
-- Erasure overwrites columns of some archive tables, and deletes rows of others.
create policy router_update on public.messages_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.messages_archived for delete to neurant_router using (true);
grant select on public.messages_archived to authenticated;
grant select, insert, delete on public.messages_archived to neurant_router;
grant update (content, media_url, media_type, n8n_message_id, external_message_id,
  knowledge_sources, explanation) on public.messages_archived to neurant_router;

create table public.hitl_sessions_archived (
  like public.hitl_sessions,
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, ended_by) references public.users (company_id, id)
);
create index hitl_sessions_archived_conversation_idx
  on public.hitl_sessions_archived (company_id, conversation_id, opened_at desc);
create index hitl_sessions_archived_operator_idx
  on public.hitl_sessions_archived (company_id, operator_id) where operator_id is not null;
create index hitl_sessions_archived_ended_by_idx
  on public.hitl_sessions_archived (company_id, ended_by) where ended_by is not null;
create index hitl_sessions_archived_opened_idx
  on public.hitl_sessions_archived (company_id, opened_at);
create index hitl_sessions_archived_ended_idx
  on public.hitl_sessions_archived (company_id, ended_at) where ended_at is not null;

alter table public.hitl_sessions_archived enable row level security, force row level security;
create policy staff_select on public.hitl_sessions_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.hitl_sessions_archived for select to neurant_router using (true);
create policy router_insert on public.hitl_sessions_archived for insert to neurant_router with check (true);
create policy router_update on public.hitl_sessions_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_sessions_archived for delete to neurant_router using (true);
grant select on public.hitl_sessions_archived to authenticated;
grant select, insert, delete on public.hitl_sessions_archived to neurant_router;
grant update (reason_detail, resolution_notes) on public.hitl_sessions_archived to neurant_router;

create table public.hitl_transfers_archived (
  like public.hitl_transfers,
  primary key (company_id, id),
  foreign key (company_id, session_id) references public.hitl_sessions_archived (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, from_user_id) references public.users (company_id, id),
  foreign key (company_id, to_user_id) references public.users (company_id, id)
);
create index hitl_transfers_archived_session_idx
  on public.hitl_transfers_archived (company_id, session_id);
create index hitl_transfers_archived_conversation_idx
  on public.hitl_transfers_archived (company_id, conversation_id);
create index hitl_transfers_archived_from_idx
  on public.hitl_transfers_archived (company_id, from_user_id);
create index hitl_transfers_archived_to_idx on public.hitl_transfers_archived (company_id, to_user_id);

alter table public.hitl_transfers_archived enable row level security, force row level security;
create policy staff_select on public.hitl_transfers_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())
      or from_user_id = (select private.user_id())));
create policy router_select on public.hitl_transfers_archived for select to neurant_router using (true);
create policy router_insert on public.hitl_transfers_archived for insert to neurant_router with check (true);
create policy router_update on public.hitl_transfers_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_transfers_archived for delete to neurant_router using (true);
grant select on public.hitl_transfers_archived to authenticated;
grant select, insert, delete on public.hitl_transfers_archived to neurant_router;
grant update (reason) on public.hitl_transfers_archived to neurant_router;

create table public.message_reactions_archived (
  like public.message_reactions,
  primary key (company_id, id),
  foreign key (company_id, message_id) references public.messages_archived (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, reacted_by_user_id) references public.users (company_id, id)
);
create index message_reactions_archived_message_idx
  on public.message_reactions_archived (company_id, message_id);
create index message_reactions_archived_conversation_idx
  on public.message_reactions_archived (company_id, conversation_id);
create index message_reactions_archived_user_idx
  on public.message_reactions_archived (company_id, reacted_by_user_id)
  where reacted_by_user_id is not null;
create index message_reactions_archived_newest_idx
  on public.message_reactions_archived (company_id, created_at);

alter table public.message_reactions_archived enable row level security, force row level security;
create policy staff_select on public.message_reactions_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.message_reactions_archived for select to neurant_router using (true);
create policy router_insert on public.message_reactions_archived for insert to neurant_router with check (true);
create policy router_update on public.message_reactions_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.message_reactions_archived for delete to neurant_router using (true);
grant select on public.message_reactions_archived to authenticated;
grant select, insert, delete on public.message_reactions_archived to neurant_router;
grant update (comment) on public.message_reactions_archived to neurant_router;

create table public.knowledge_queries_archived (
  like public.knowledge_queries,
  primary key (company_id, id),
  foreign key (company_id, conversation_id)
    references public.conversations_archived (company_id, id),
  foreign key (company_id, message_id) references public.messages_archived (company_id, id)
);
create index knowledge_queries_archived_conversation_idx
  on public.knowledge_queries_archived (company_id, conversation_id);
create index knowledge_queries_archived_message_idx
  on public.knowledge_queries_archived (company_id, message_id);
create index knowledge_queries_archived_newest_idx
  on public.knowledge_queries_archived (company_id, created_at desc);

alter table public.knowledge_queries_archived enable row level security, force row level security;
create policy staff_select on public.knowledge_queries_archived for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy router_select on public.knowledge_queries_archived for select to neurant_router using (true);
create policy router_insert on public.knowledge_queries_archived for insert to neurant_router with check (true);
create policy router_update on public.knowledge_queries_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.knowledge_queries_archived for delete to neurant_router using (true);
grant select on public.knowledge_queries_archived to authenticated;
grant select, insert, delete on public.knowledge_queries_archived to neurant_router;
grant update (query_text, query_embedding) on public.knowledge_queries_archived to neurant_router;

create table public.notes_archived (
  like public.notes,
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, author_id) references public.users (company_id, id)
);
create index notes_archived_conversation_idx
  on public.notes_archived (company_id, conversation_id, created_at);
create index notes_archived_author_idx on public.notes_archived (company_id, author_id);

alter table public.notes_archived enable row level security, force row level security;
create policy staff_select on public.notes_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.notes_archived for select to neurant_router using (true);
create policy router_insert on public.notes_archived for insert to neurant_router with check (true);
create policy router_update on public.notes_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.notes_archived for delete to neurant_router using (true);
grant select on public.notes_archived to authenticated;
grant select, insert, delete on public.notes_archived to neurant_router;
grant update (content) on public.notes_archived to neurant_router;

create table public.outbox_archived (
  like public.outbox,
  primary key (company_id, id),
  foreign key (company_id, conversation_id)
    references public.conversations_archived (company_id, id),
  foreign key (company_id, message_id) references public.messages_archived (company_id, id),
  foreign key (company_id, channel_account_id)
    references public.channel_accounts (company_id, id)
);
create index outbox_archived_conversation_idx on public.outbox_archived (company_id, conversation_id);
create index outbox_archived_message_idx on public.outbox_archived (company_id, message_id);
create index outbox_archived_account_idx on public.outbox_archived (company_id, channel_account_id);

alter table public.outbox_archived enable row level security, force row level security;
create policy staff_select on public.outbox_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations_archived c
      where c.company_id = outbox_archived.company_id and c.id = outbox_archived.conversation_id));
create policy router_select on public.outbox_archived for select to neurant_router using (true);
create policy router_insert on public.outbox_archived for insert to neurant_router with check (true);
create policy router_update on public.outbox_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.outbox_archived for delete to neurant_router using (true);
grant select on public.outbox_archived to authenticated;
grant select, insert, delete on public.outbox_archived to neurant_router;
grant update (last_error) on public.outbox_archived to neurant_router;

create table public.archive_batches (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  kind text not null check (kind in ('archive', 'restore')),
  conversation_ids uuid[] not null check (cardinality(conversation_ids) > 0),
  counts jsonb not null check (jsonb_typeof(counts) = 'object'),
  checksums jsonb not null check (jsonb_typeof(checksums) = 'object'),
  started_at timestamptz not null,
  finished_at timestamptz not null,
  primary key (company_id, id),
  check (finished_at >= started_at)
);
comment on table public.archive_batches is
  'The manifest of the archive: one row per batch, written by the transaction that moved it.';
comment on column public.archive_batches.counts is 'Rows moved, by live table.';
comment on column public.archive_batches.checksums is
  'By live table: SHA-256 over the SHA-256 of each row in the order of ids (private.row_text), equal before and after the move. Rows that erasure overwrites later no longer match.';
create index archive_batches_newest_idx on public.archive_batches (company_id, started_at desc);

alter table public.archive_batches enable row level security, force row level security;
create policy staff_select on public.archive_batches for select to authenticated
  using (company_id = (select private.company_id('data.export')));
create policy router_select on public.archive_batches for select to neurant_router using (true);
create policy router_insert on public.archive_batches for insert to neurant_router with check (true);
grant select on public.archive_batches to authenticated;
grant select, insert on public.archive_batches to neurant_router;

create function private.archived_tables() returns table (place integer, live name, key name)
language sql immutable set search_path = '' as $$
  values (1, 'conversations'::name, 'id'::name), (2, 'messages', 'conversation_id'),
    (3, 'hitl_sessions', 'conversation_id'), (4, 'hitl_transfers', 'conversation_id'),
    (5, 'message_reactions', 'conversation_id'), (6, 'knowledge_queries', 'conversation_id'),
    (7, 'notes', 'conversation_id'), (8, 'outbox', 'conversation_id')
$$;
comment on function private.archived_tables() is
  'Returns the tables that are archived with a conversation, and the column that names the conversation. The archive of a table is called <table>_archived.';
grant execute on function private.archived_tables() to neurant_router;

create function private.check_archives() returns void
language plpgsql stable set search_path = '' as $$
declare
  v_differing text;
begin
  select string_agg(format('%s.%s', d.live, d.attname), ', ' order by d.live, d.attname)
  into v_differing
  from (
    select t.live, a.attname
    from private.archived_tables() t
    join pg_catalog.pg_attribute a on a.attnum > 0 and not a.attisdropped
      and a.attrelid in (format('public.%I', t.live)::regclass,
        format('public.%I', t.live || '_archived')::regclass)
    group by t.live, a.attname
    having count(*) <> 2 or count(distinct (a.atttypid, a.atttypmod)) <> 1) d;
  if v_differing is not null then
    raise exception 'the archive does not have the columns of the live table: %', v_differing
      using errcode = 'NA003',
      hint = 'Add to <table>_archived what was added to <table>; until then nothing moves.';
  end if;
end $$;
comment on function private.check_archives() is
  'Raises NA003 if an archive table lacks a column of its live table, has an additional one, or one of another type, since a value would be lost.';
grant execute on function private.check_archives() to neurant_router;

create function private.row_text(p_table regclass) returns text
language sql stable set search_path = '' as $$
  select 'row(' || string_agg(
    case a.atttypid
      -- No setting of the session may change a checksum.
      when 'timestamptz'::regtype then format('extract(epoch from %I)', a.attname)
      when 'bytea'::regtype then format('encode(%I, ''hex'')', a.attname)
      else format('%I', a.attname) end, ', ' order by a.attname) || ')::text'
  from pg_catalog.pg_attribute a
  where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
$$;
comment on function private.row_text(regclass) is
  'Returns the SQL expression that makes the text of a row for its checksum: all columns in the order of their names.';
grant execute on function private.row_text(regclass) to neurant_router;

create function private.row_columns(p_into regclass) returns text
language sql stable set search_path = '' as $$
  select string_agg(format('%I', a.attname), ', ' order by a.attname)
  from pg_catalog.pg_attribute a
  where a.attrelid = p_into and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
$$;
comment on function private.row_columns(regclass) is
  'Returns the columns to name in an insert: all but the generated ones.';
grant execute on function private.row_columns(regclass) to neurant_router;

create function private.count_archived(p_company uuid, p_conversations uuid[], p_suffix text)
returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  v_found jsonb;
begin
  execute (
    select 'select jsonb_build_object(' || string_agg(format(
      '%1$L, (select jsonb_build_object(''rows'', count(*), ''sha256'', '
      'encode(sha256(coalesce(string_agg(sha256(convert_to(%4$s, ''UTF8'')), '''' order by id), '''')), ''hex'')) '
      'from public.%2$I where company_id = $1 and %3$I = any ($2))',
      t.live, t.live || p_suffix, t.key, private.row_text(format('public.%I', t.live)::regclass)),
      ', ' order by t.place) || ')'
    from private.archived_tables() t)
  into v_found using p_company, p_conversations;
  return v_found;
end $$;
comment on function private.count_archived(uuid, uuid[], text) is
  'Returns row counts and checksums of these conversations, by table: of the live tables (suffix empty) or the archives (_archived). Security definer, called by other definers only, because it works on any company.';

create function private.move_conversations(
  p_company uuid, p_conversations uuid[], p_from text, p_into text, p_started timestamptz)
returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_before jsonb;
  v_after jsonb;
  v_moved jsonb;
  v_batch uuid;
begin
  v_before := private.count_archived(p_company, p_conversations, p_from);
  -- Now that the tables are held: a column that is added meanwhile waits.
  perform private.check_archives();
  -- One statement, so that each row is in exactly one place at any moment, also for its triggers.
  execute (
    select 'with ' || string_agg(format(
      'gone_%1$s as (delete from public.%2$I where company_id = $1 and %4$I = any ($2) returning *), '
      'kept_%1$s as (insert into public.%3$I (%5$s) select %5$s from gone_%1$s returning 1)',
      t.place, t.live || p_from, t.live || p_into, t.key,
      private.row_columns(format('public.%I', t.live || p_into)::regclass)),
      ', ' order by t.place)
      || ' select jsonb_build_object(' || string_agg(format(
      '%L, jsonb_build_array((select count(*) from gone_%s), (select count(*) from kept_%s))',
      t.live, t.place, t.place), ', ' order by t.place) || ')'
    from private.archived_tables() t)
  into v_moved using p_company, p_conversations;
  v_after := private.count_archived(p_company, p_conversations, p_into);
  if v_before <> v_after or exists (
    select from jsonb_each(v_moved) m
    where m.value -> 0 <> v_before -> m.key -> 'rows' or m.value -> 1 <> v_before -> m.key -> 'rows')
  then
    raise exception 'rows were changed on their way between the live tables and the archives'
      using errcode = 'NA003',
      detail = jsonb_build_object('before', v_before, 'moved', v_moved, 'after', v_after);
  end if;
  insert into public.archive_batches
    (company_id, kind, conversation_ids, counts, checksums, started_at, finished_at)
  select p_company, case p_into when '' then 'restore' else 'archive' end, p_conversations,
    jsonb_object_agg(e.key, e.value -> 'rows'), jsonb_object_agg(e.key, e.value -> 'sha256'),
    p_started, greatest(p_started, clock_timestamp())
  from jsonb_each(v_after) e
  returning id into v_batch;
  return v_batch;
end $$;
comment on function private.move_conversations(uuid, uuid[], text, text, timestamptz) is
  'Moves locked conversations with all rows that belong to them, and writes the manifest. Raises NA003 unless every row arrives exactly as it left. Security definer, called by other definers only, because no role may delete messages or write an archive.';

create function private.has_open_work(p_company uuid, p_conversation uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from public.reply_requests r
      where r.company_id = p_company and r.conversation_id = p_conversation)
    or exists (select from public.outbox o
      where o.company_id = p_company and o.conversation_id = p_conversation
        and o.status in ('pending', 'sending'))
    or exists (select from public.hitl_sessions s
      where s.company_id = p_company and s.conversation_id = p_conversation and s.ended_at is null)
    or exists (select from public.hitl_transfers t
      where t.company_id = p_company and t.conversation_id = p_conversation
        and t.status = 'pending')
$$;
comment on function private.has_open_work(uuid, uuid) is
  'Returns whether a reply is owed, a message is in delivery, or a takeover is open. Security definer, called by other definers only, because it works on any company.';

create function private.archive_old_data(
  p_before interval default '1 year', p_limit integer default 500, p_now timestamptz default now())
returns table (company_id uuid, batch_id uuid, conversations integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_ids uuid[];
begin
  perform private.check_archives();
  for v_company in
    select k.id from public.companies k
    where exists (select from public.conversations c
      where c.company_id = k.id and c.status <> 'active'
        -- What the inbox's index holds; last_message_at, which decides, is never before it.
        and c.last_message_slot < p_now - p_before and c.last_message_at < p_now - p_before)
    order by (select max(b.started_at) from public.archive_batches b
      where b.company_id = k.id and b.kind = 'archive') nulls first, k.id
  loop
    select array_agg(l.id order by l.id) into v_ids from (
      select c.id from public.conversations c
      where c.company_id = v_company and c.status <> 'active'
        and c.last_message_slot < p_now - p_before and c.last_message_at < p_now - p_before
        and not private.has_open_work(c.company_id, c.id)
        -- What somebody has just brought back stays a while.
        and not exists (select from public.archive_batches b
          where b.company_id = c.company_id and b.kind = 'restore'
            and b.conversation_ids[1] = c.id and b.started_at > p_now - interval '30 days')
      order by c.last_message_slot, c.last_message_at limit p_limit for update skip locked) l;
    -- Again, now that they are locked: somebody may have asked to send again in between.
    -- And no more messages at once than a second takes.
    select array_agg(i.id order by i.id) into v_ids from (
      select c.id, sum(c.message_count) over (order by c.last_message_at, c.id) - c.message_count
        as messages_before
      from public.conversations c
      where c.company_id = v_company and c.id = any (v_ids)
        and not private.has_open_work(v_company, c.id)) i
    where i.messages_before < 5000;
    continue when v_ids is null;
    return query select v_company,
      private.move_conversations(v_company, v_ids, '', '_archived', clock_timestamp()),
      cardinality(v_ids);
    return;
  end loop;
end $$;
comment on function private.archive_old_data(interval, integer, timestamptz) is
  'Archives up to p_limit finished conversations (and about 5,000 messages) of one company whose last message is older than p_before; the companies take turns, one per call. No row: there is nothing left to do. Security definer, called by the worker process, because it works on all companies, and no role may delete messages.';
grant execute on function private.archive_old_data(interval, integer, timestamptz) to
  neurant_jobs;

create function private.restore_conversation(p_conversation uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('data.restore');
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  perform from public.conversations_archived c
  where c.company_id = v_company and c.id = p_conversation for update;
  if not found then
    return 'not_found';
  end if;
  perform private.move_conversations(
    v_company, array[p_conversation], '_archived', '', clock_timestamp());
  return 'restored';
exception when unique_violation then
  return 'in_conflict';
end $$;
comment on function private.restore_conversation(uuid) is
  'The owner or an administrador restores an archived conversation exactly as it was; it then stays for at least 30 days. Outcome: restored, not_found, or in_conflict (the channel has sent one of its messages again). Security definer, called by staff and API keys, because no role may write stored messages directly.';
grant execute on function private.restore_conversation(uuid) to authenticated;
