-- migrate:up
-- How often documents and their passages are used: appended by each answer, added up by the worker.
set local role neurant_owner;

create table public.knowledge_uses (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  document_ids jsonb not null,
  chunk_ids jsonb not null,
  used_at timestamptz not null,
  primary key (company_id, id)
);
comment on table public.knowledge_uses is
  'One row for each answer that quotes documents, until private.count_knowledge_uses has added it up. No foreign keys: it outlives what it names.';

comment on column public.documents.query_count is
  'Answers that have quoted the document, also those erased since; exact after a drain (private.count_knowledge_uses).';
comment on column public.documents.last_used_at is
  'created_at of the newest answer that quoted the document; exact after a drain.';
comment on column public.document_chunks.match_count is
  'Answers that have quoted the passage, also those erased since; exact after a drain (private.count_knowledge_uses).';
comment on column public.document_chunks.last_matched_at is
  'created_at of the newest answer that quoted the passage; exact after a drain.';

create function private.note_knowledge_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.knowledge_uses (company_id, document_ids, chunk_ids, used_at)
  values (new.company_id, jsonb_path_query_array(new.knowledge_sources, '$[*].document_id'),
    jsonb_path_query_array(new.knowledge_sources, '$[*].chunk_id'), new.created_at);
  return new;
end $$;
comment on function private.note_knowledge_use() is
  'Definer: counters are nobody''s to write by hand.';

create function private.count_knowledge_uses(p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_taken integer;
begin
  -- One at a time: two that add to the same documents in different orders would block each other.
  if not pg_try_advisory_xact_lock(hashtextextended('private.count_knowledge_uses', 0)) then
    return 0;
  end if;
  with taken as (
    delete from public.knowledge_uses u
    where u.ctid = any (array(select o.ctid from public.knowledge_uses o limit p_limit))
    returning u.company_id, u.id, u.document_ids, u.chunk_ids, u.used_at
  ),
  document as (
    select t.company_id, e.value::uuid as id, count(distinct t.id) as uses, max(t.used_at) as used_at
    from taken t cross join lateral jsonb_array_elements_text(t.document_ids) e
    where pg_input_is_valid(e.value, 'uuid')
    group by t.company_id, e.value::uuid
  ),
  chunk as (
    select t.company_id, e.value::uuid as id, count(distinct t.id) as uses, max(t.used_at) as used_at
    from taken t cross join lateral jsonb_array_elements_text(t.chunk_ids) e
    where pg_input_is_valid(e.value, 'uuid')
    group by t.company_id, e.value::uuid
  ),
  documents_counted as (
    update public.documents d
    set query_count = d.query_count + u.uses, last_used_at = greatest(d.last_used_at, u.used_at)
    from document u
    where d.company_id = u.company_id and d.id = u.id
  ),
  chunks_counted as (
    update public.document_chunks c
    set match_count = c.match_count + u.uses,
      last_matched_at = greatest(c.last_matched_at, u.used_at)
    from chunk u
    where c.company_id = u.company_id and c.id = u.id
  )
  select count(*) into v_taken from taken;
  return v_taken;
end $$;
comment on function private.count_knowledge_uses(integer) is
  'Adds at most so many answers to the counters of what they quote; how many (0 too while another adds). Definer: counters are nobody''s to write by hand.';

alter table public.knowledge_uses enable row level security, force row level security;
create policy router_select on public.knowledge_uses for select to neurant_router using (true);
create policy router_insert on public.knowledge_uses for insert to neurant_router with check (true);
create policy router_delete on public.knowledge_uses for delete to neurant_router using (true);
create policy router_update on public.documents for update to neurant_router using (true) with check (true);
create policy router_update on public.document_chunks for update to neurant_router using (true) with check (true);
grant select, insert, delete on public.knowledge_uses to neurant_router;
grant update (query_count, last_used_at) on public.documents to neurant_router;
grant update (match_count, last_matched_at) on public.document_chunks to neurant_router;

-- Before number_message, by its name: a message that has its number already is one that comes
-- back, and was counted when it was new.
create trigger note_knowledge_use before insert on public.messages
  for each row when (new.seq is null and new.sender_type = 'bot' and new.knowledge_sources <> '[]')
  execute function private.note_knowledge_use();
-- To be used is no edit.
create or replace trigger set_updated_at before update on public.documents
  for each row when ((old.query_count, old.last_used_at)
    is not distinct from (new.query_count, new.last_used_at))
  execute function private.update_updated_at_column();

grant execute on function private.count_knowledge_uses(integer) to neurant_jobs;
alter function private.note_knowledge_use() owner to neurant_router;
alter function private.count_knowledge_uses(integer) owner to neurant_router;

reset role;

-- What was quoted before: as the migrating login, since the owner sees no rows.
insert into public.knowledge_uses (company_id, document_ids, chunk_ids, used_at)
select m.company_id, jsonb_path_query_array(m.knowledge_sources, '$[*].document_id'),
  jsonb_path_query_array(m.knowledge_sources, '$[*].chunk_id'), m.created_at
from public.messages m
where m.sender_type = 'bot' and m.knowledge_sources <> '[]';
-- migrate:down
