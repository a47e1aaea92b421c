-- Knowledge: documents, their chunks and the search in them.

create table public.embedding_models (
  name text not null primary key,
  dimensions smallint not null check (dimensions between 1 and 16000),
  unique (name, dimensions)
);
comment on table public.embedding_models is
  'Platform table: the models that make the vectors of chunks. A search uses one model.';

alter table public.embedding_models enable row level security, force row level security;
create policy everybody_select on public.embedding_models for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.embedding_models to authenticated, neurant_worker, neurant_router;

create table public.documents (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  chatbot_id uuid,
  filename varchar(255) not null,
  original_filename varchar(255) not null,
  file_type varchar(50) not null check (file_type in ('pdf', 'docx', 'txt')),
  file_size_bytes bigint not null check (file_size_bytes > 0),
  file_url text not null,
  content_digest bytea not null check (octet_length(content_digest) = 32),
  extracted_text text,
  words text,
  character_count integer check (character_count >= 0),
  chunk_count integer default 0 check (chunk_count >= 0),
  unread_pages integer[] not null default '{}',
  processing_status public.processing_status_enum not null default 'pending',
  processing_progress smallint not null default 0 check (processing_progress between 0 and 100),
  processing_error text,
  title varchar(500),
  description text,
  tags text[] default '{}',
  category varchar(100),
  language varchar(10) default 'es',
  query_count integer not null default 0,
  last_used_at timestamptz,
  retired_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  uploaded_by uuid not null,
  primary key (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, uploaded_by) references public.users (company_id, id),
  check ((processing_status = 'failed') = (processing_error is not null)),
  constraint documents_names_read_check check (
    private.reads_as_label(original_filename)
    and (title is null or private.reads_as_label(title)))
);
comment on column public.documents.chatbot_id is 'Null: shared by all bots of the company.';
comment on column public.documents.words is
  'The distinct words of the text in lower case, separated by spaces: words that end users type are repaired against them.';
comment on column public.documents.unread_pages is
  'Numbers of the pages without text, such as scanned images, which the bot does not know.';
comment on column public.documents.processing_error is
  'JSON {"code", "params"} of the error, shown in the reader''s language.';
comment on column public.documents.query_count is
  'Answers that have quoted the document, including answers erased since; exact after a drain (private.count_knowledge_uses).';
comment on column public.documents.last_used_at is
  'created_at of the newest answer that quoted the document; exact after a drain.';
create index documents_newest_idx on public.documents (company_id, created_at desc);
create index documents_chatbot_idx on public.documents (company_id, chatbot_id);
create index documents_uploaded_by_idx on public.documents (company_id, uploaded_by);
-- The same file twice for the same bot is a mistake, not more knowledge.
create unique index documents_content_key
  on public.documents (company_id, chatbot_id, content_digest) nulls not distinct
  where retired_at is null;
-- Punctuation in a file's name separates words.
create index documents_words_idx on public.documents using gin (
  company_id extensions.uuid_ops,
  (to_tsvector('private.spanish'::regconfig, coalesce(title, '') || ' ' || coalesce(description, '')
      || ' ' || translate(original_filename, '_-.', '   '))
    || to_tsvector('private.words'::regconfig, coalesce(title, '') || ' ' || coalesce(description, '')
      || ' ' || translate(original_filename, '_-.', '   '))));

alter table public.documents enable row level security, force row level security;
create policy staff_select on public.documents for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy staff_insert on public.documents for insert to authenticated
  with check (company_id = (select private.company_id('documents.edit'))
    and uploaded_by = (select private.user_id()));
create policy staff_update on public.documents for update to authenticated
  using (company_id = (select private.company_id('documents.edit')))
  with check (company_id = (select private.company_id('documents.edit')));
create policy worker_select on public.documents for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_update on public.documents for update to neurant_worker
  using (company_id = (select private.company_id()))
  with check (company_id = (select private.company_id()));
create policy router_select on public.documents for select to neurant_router using (true);
create policy router_update on public.documents for update to neurant_router using (true) with check (true);
grant select on public.documents to authenticated, neurant_worker, neurant_router;
grant insert (company_id, id, chatbot_id, filename, original_filename, file_type, file_size_bytes,
  file_url, content_digest, title, description, tags, category, language, uploaded_by) on
  public.documents to authenticated;
grant update (chatbot_id, title, description, tags, category, language, retired_at) on
  public.documents to authenticated;
grant update (extracted_text, words, character_count, chunk_count, unread_pages,
  processing_status, processing_progress, processing_error, title) on public.documents to neurant_worker;
grant update (query_count, last_used_at) on public.documents to neurant_router;

select private.audit_table('public.documents', 'uploaded_by',
  '{chatbot_id,file_type,file_size_bytes,retired_at,uploaded_by}',
  '{filename,original_filename,file_url,title,description,tags,category,language}',
  '{content_digest}',
  '{extracted_text,words,character_count,chunk_count,unread_pages,processing_status,
    processing_progress,processing_error,query_count,last_used_at,created_at,updated_at}');

-- The use of a document is no edit.
create trigger set_updated_at before update on public.documents
  for each row when ((old.query_count, old.last_used_at)
    is not distinct from (new.query_count, new.last_used_at))
  execute function private.update_updated_at_column();

create trigger keep_document_use
  after insert or delete or update of retired_at, character_count, file_size_bytes on public.documents
  for each row execute function private.count_document();

create table public.document_chunks (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  document_id uuid not null,
  content text not null check (content <> ''),
  chunk_index integer not null check (chunk_index >= 0),
  character_count integer not null,
  embedding extensions.vector storage main,
  embedding_model text,
  embedding_dimensions smallint generated always as (extensions.vector_dims(embedding)) stored,
  page_number integer check (page_number > 0),
  section_title varchar(500),
  context_before text,
  context_after text,
  match_count integer not null default 0,
  last_matched_at timestamptz,
  search tsvector storage main generated always as (
    to_tsvector('private.spanish'::regconfig, coalesce(section_title, '') || ' ' || content)) stored,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, document_id, chunk_index),
  foreign key (company_id, document_id) references public.documents (company_id, id),
  foreign key (embedding_model, embedding_dimensions)
    references public.embedding_models (name, dimensions),
  check ((embedding is null) = (embedding_model is null)),
  check (character_count = char_length(content))
);
comment on column public.document_chunks.match_count is
  'Answers that have quoted the passage, including answers erased since; exact after a drain (private.count_knowledge_uses).';
comment on column public.document_chunks.last_matched_at is
  'created_at of the newest answer that quoted the passage; exact after a drain.';
create index document_chunks_model_idx
  on public.document_chunks (embedding_model, embedding_dimensions);
-- The words of the chunks with their company in the index, so that a search reads no other
-- company's entries.
create index document_chunks_words_idx on public.document_chunks using gin (company_id extensions.uuid_ops, search);

alter table public.document_chunks enable row level security, force row level security;
create policy staff_select on public.document_chunks for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy worker_select on public.document_chunks for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_insert on public.document_chunks for insert to neurant_worker
  with check (company_id = (select private.company_id()));
create policy worker_delete on public.document_chunks for delete to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.document_chunks for select to neurant_router using (true);
create policy router_update on public.document_chunks for update to neurant_router using (true) with check (true);
grant select on public.document_chunks to authenticated, neurant_router;
grant select, delete on public.document_chunks to neurant_worker;
grant insert (company_id, document_id, content, chunk_index, character_count, embedding,
  embedding_model, page_number, section_title, context_before, context_after) on
  public.document_chunks to neurant_worker;
grant update (match_count, last_matched_at) on public.document_chunks to neurant_router;

create table public.knowledge_queries (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid,
  message_id uuid,
  query_text text not null,
  query_embedding extensions.vector,
  results_count integer not null default 0,
  top_similarity_score decimal(5, 4),
  confidence decimal(4, 3) check (confidence between 0 and 1),
  processing_time_ms integer,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id),
  foreign key (company_id, message_id) references public.messages (company_id, id)
);
comment on column public.knowledge_queries.confidence is
  'The probability that the best passage answers: also where it was too low to answer; null: there was nothing to compare.';
create index knowledge_queries_conversation_idx
  on public.knowledge_queries (company_id, conversation_id);
create index knowledge_queries_message_idx on public.knowledge_queries (company_id, message_id);
create index knowledge_queries_newest_idx on public.knowledge_queries (company_id, created_at desc);

alter table public.knowledge_queries enable row level security, force row level security;
create policy staff_select on public.knowledge_queries for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy worker_insert on public.knowledge_queries for insert to neurant_worker
  with check (company_id = (select private.company_id()));
create policy router_select on public.knowledge_queries for select to neurant_router using (true);
create policy router_insert on public.knowledge_queries for insert to neurant_router with check (true);
create policy router_update on public.knowledge_queries for update to neurant_router using (true) with check (true);
create policy router_delete on public.knowledge_queries for delete to neurant_router using (true);
grant select on public.knowledge_queries to authenticated;
grant insert (company_id, conversation_id, message_id, query_text, query_embedding, results_count,
  top_similarity_score, confidence, processing_time_ms) on public.knowledge_queries to
  neurant_worker;
grant select, insert, delete on public.knowledge_queries to neurant_router;
grant update (query_text, query_embedding) on public.knowledge_queries to neurant_router;

create table public.knowledge_uses (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  document_ids jsonb not null,
  chunk_ids jsonb not null,
  used_at timestamptz not null,
  primary key (company_id, id)
);
comment on table public.knowledge_uses is
  'One row for each answer that quotes documents, until private.count_knowledge_uses has counted it. The table has no foreign keys, because its rows may outlive the documents that they name.';

alter table public.knowledge_uses enable row level security, force row level security;
create policy router_select on public.knowledge_uses for select to neurant_router using (true);
create policy router_insert on public.knowledge_uses for insert to neurant_router with check (true);
create policy router_delete on public.knowledge_uses for delete to neurant_router using (true);
grant select, insert, delete on public.knowledge_uses to neurant_router;

create function private.search_chunks(
  p_chatbot uuid, p_query text, p_embedding extensions.vector, p_model text, p_limit integer)
returns table (chunk_id uuid, similarity double precision, lexical double precision)
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_generic_plan' as $$
declare
  v_company uuid := private.company_id('documents.read');
  v_documents uuid[];
  v_query tsquery;
begin
  select array_agg(d.id) into v_documents
  from public.documents d
  where d.company_id = v_company and d.retired_at is null and d.processing_status = 'completed'
    and (d.chatbot_id is null or d.chatbot_id = p_chatbot);
  -- Any of the words: with all of them, most questions find nothing.
  select string_agg(private.quoted_word(lexeme), ' | ')::tsquery into v_query
  from unnest(to_tsvector('private.spanish'::regconfig, p_query));
  return query
  with dense as (
    select c.id, c.embedding operator(extensions.<=>) p_embedding as distance
    from public.document_chunks c
    where p_embedding is not null and c.company_id = v_company
      and c.document_id = any (v_documents) and c.embedding_model = p_model
    order by distance
    limit p_limit
  ),
  sparse as (
    select c.id, ts_rank(c.search, v_query, 1)::double precision as lexical
    from public.document_chunks c
    where c.company_id = v_company and c.search @@ v_query and c.document_id = any (v_documents)
    order by lexical desc
    limit p_limit
  )
  select coalesce(dense.id, sparse.id), 1 - dense.distance, sparse.lexical
  from dense full join sparse on sparse.id = dense.id;
end $$;
comment on function private.search_chunks(uuid, text, extensions.vector, text, integer) is
  'Finds the nearest chunks of the caller''s company by meaning and by words. Returns ids and scores; the caller reads the rows under its own policies. Security definer, called by staff and API keys and the worker for one company, because under row level security neither the full text index nor a vector index could be used.';
grant execute on function private.search_chunks(uuid, text, extensions.vector, text, integer) to
  authenticated, neurant_worker;

create function private.search_documents(p_words text) returns table (document_id uuid)
language plpgsql stable security definer set search_path = '' as $$
begin
  -- Dynamic, so that each search is planned for its own words.
  return query execute $query$
    select d.id from public.documents d
    where d.company_id = $1
      and (to_tsvector('private.spanish'::regconfig, coalesce(d.title, '') || ' '
          || coalesce(d.description, '') || ' ' || translate(d.original_filename, '_-.', '   '))
        || to_tsvector('private.words'::regconfig, coalesce(d.title, '') || ' '
          || coalesce(d.description, '') || ' ' || translate(d.original_filename, '_-.', '   ')))
        @@ $2
  $query$
  using private.company_id('documents.read'), private.typed_query(translate(p_words, '_-.', '   '), '');
end $$;
comment on function private.search_documents(text) is
  'Finds documents of the caller''s company by title, description and file name. Returns ids; the caller reads the rows under its own policies. Security definer, called by staff and API keys, because under row level security no text index could be used.';
grant execute on function private.search_documents(text) to authenticated;

create function private.place_knowledge_query() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  new.conversation_id := coalesce((
    select m.conversation_id from public.messages m
    where m.company_id = new.company_id and m.id = new.message_id), new.conversation_id);
  return new;
end $$;
comment on function private.place_knowledge_query() is
  'Sets the conversation of a query that a message caused to that of the message, so that both are archived together. Security definer, called by a trigger, because the caller may not see the message.';

create trigger place_knowledge_query before insert on public.knowledge_queries
  for each row when (new.message_id is not null)
  execute function private.place_knowledge_query();

create function private.note_knowledge_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.knowledge_uses (company_id, document_ids, chunk_ids, used_at)
  values (new.company_id, jsonb_path_query_array(new.knowledge_sources, '$[*].document_id'),
    jsonb_path_query_array(new.knowledge_sources, '$[*].chunk_id'), new.created_at);
  return new;
end $$;
comment on function private.note_knowledge_use() is
  'Notes which documents and passages an answer quotes. Security definer, called by a trigger, because no role may write counters directly.';

-- Its name makes it run before number_message: a message that already has its number is being
-- restored, and was counted when it was new.
create trigger note_knowledge_use before insert on public.messages
  for each row when (new.seq is null and new.sender_type = 'bot' and new.knowledge_sources <> '[]')
  execute function private.note_knowledge_use();

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
  'Adds at most p_limit answers to the counters of the documents and passages that they quote. Returns the number (0 as well while another call counts: an advisory lock admits one, because two that lock the same documents in different orders would deadlock). Security definer, called by the worker process, because no role may write counters directly.';
grant execute on function private.count_knowledge_uses(integer) to neurant_jobs;
