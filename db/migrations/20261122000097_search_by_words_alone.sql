-- migrate:up
-- A search by words alone reads no vector.
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

reset role;
-- migrate:down
