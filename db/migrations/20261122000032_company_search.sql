-- migrate:up
-- Searching chunks, documents and bots of one company.
set local role neurant_owner;

-- A search compares every vector of a company. In its row a vector is read with it; out of line it
-- costs five page reads more. (What is there already moves in when it is written again.)
alter table public.document_chunks alter column embedding set storage main;

-- The signs in a file's name separate words.
create index documents_words_idx on public.documents using gin (
  company_id extensions.uuid_ops,
  (to_tsvector('private.spanish'::regconfig, coalesce(title, '') || ' ' || coalesce(description, '')
      || ' ' || translate(original_filename, '_-.', '   '))
    || to_tsvector('private.words'::regconfig, coalesce(title, '') || ' ' || coalesce(description, '')
      || ' ' || translate(original_filename, '_-.', '   '))));
create index chatbots_words_idx on public.chatbots using gin (
  company_id extensions.uuid_ops,
  (to_tsvector('private.spanish'::regconfig, name || ' ' || coalesce(description, ''))
    || to_tsvector('private.words'::regconfig, name || ' ' || coalesce(description, ''))));

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
  using private.company_id(), private.typed_query(translate(p_words, '_-.', '   '), '');
end $$;
comment on function private.search_documents(text) is
  'The caller''s company''s documents by title, description and file name: ids, to be read again under the caller''s policies. Definer: under RLS no text index could serve.';

create function private.search_chatbots(p_words text) returns table (chatbot_id uuid)
language plpgsql stable security definer set search_path = '' as $$
begin
  return query execute $query$
    select b.id from public.chatbots b
    where b.company_id = $1
      and (to_tsvector('private.spanish'::regconfig, b.name || ' ' || coalesce(b.description, ''))
        || to_tsvector('private.words'::regconfig, b.name || ' ' || coalesce(b.description, '')))
        @@ $2
      and ($3 or b.id = any ($4))
  $query$
  using private.company_id(), private.typed_query(p_words, ''), private.sees_all_chatbots(),
    private.my_chatbot_ids();
end $$;
comment on function private.search_chatbots(text) is
  'The bots within the caller''s scope by name and description. Definer, as search_documents.';

grant execute on function private.search_documents(text), private.search_chatbots(text)
  to authenticated;
alter function private.search_documents(text) owner to neurant_router;
alter function private.search_chatbots(text) owner to neurant_router;

set local role neurant_router;
create or replace function private.search_chunks(
  p_chatbot uuid, p_query text, p_embedding extensions.vector, p_model text, p_limit integer)
returns table (chunk_id uuid, similarity double precision, lexical double precision)
language plpgsql stable security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
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
    where c.company_id = v_company and c.document_id = any (v_documents)
      and c.embedding_model = p_model
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

reset role;

-- migrate:down
