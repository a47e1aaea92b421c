-- migrate:up
-- Search in the documents of one company.
set local role neurant_owner;

create function private.search_chunks(
  p_chatbot uuid, p_query text, p_embedding extensions.vector, p_model text, p_limit integer)
returns table (chunk_id uuid, similarity double precision, lexical double precision)
language plpgsql stable security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_query tsquery;
begin
  -- Any of the words: with all of them, most questions find nothing.
  select string_agg(quote_literal(lexeme), ' | ')::tsquery into v_query
  from unnest(to_tsvector('private.spanish'::regconfig, p_query));
  return query
  with mine as (
    select c.id, c.embedding, c.embedding_model, c.search
    from public.document_chunks c
    join public.documents d on d.company_id = c.company_id and d.id = c.document_id
    where c.company_id = v_company and d.retired_at is null
      and d.processing_status = 'completed'
      and (d.chatbot_id is null or d.chatbot_id = p_chatbot)
  ),
  dense as (
    select m.id, 1 - (m.embedding operator(extensions.<=>) p_embedding) as similarity
    from mine m
    where m.embedding_model = p_model
    order by m.embedding operator(extensions.<=>) p_embedding
    limit p_limit
  ),
  sparse as (
    select m.id, ts_rank(m.search, v_query, 1)::double precision as lexical
    from mine m
    where m.search @@ v_query
    order by lexical desc
    limit p_limit
  )
  select coalesce(dense.id, sparse.id), dense.similarity, sparse.lexical
  from dense full join sparse on sparse.id = dense.id;
end $$;
comment on function private.search_chunks(uuid, text, extensions.vector, text, integer) is
  'The nearest chunks by meaning and by words, of the caller''s company only: ids and scores, to be read again under the caller''s policies. Definer: under RLS neither the full text index nor a vector index could serve.';

grant execute on function private.search_chunks(uuid, text, extensions.vector, text, integer)
  to authenticated, neurant_worker;
alter function private.search_chunks(uuid, text, extensions.vector, text, integer)
  owner to neurant_router;

reset role;
-- migrate:down
