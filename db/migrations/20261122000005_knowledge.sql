-- migrate:up
-- Documents, their chunks, and what was asked of them.
set local role neurant_owner;

create type public.processing_status_enum as enum ('pending', 'processing', 'completed', 'failed');

create text search configuration private.spanish (copy = pg_catalog.spanish);
alter text search configuration private.spanish
  alter mapping for hword, hword_part, word with extensions.unaccent, spanish_stem;

create table public.embedding_models (
  name text not null primary key,
  dimensions smallint not null check (dimensions between 1 and 16000),
  unique (name, dimensions)
);
comment on table public.embedding_models is 'Platform table: what made a chunk''s vector. A search uses one model.';
insert into public.embedding_models (name, dimensions) values ('multilingual-e5-small', 384);

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
  character_count integer check (character_count >= 0),
  chunk_count integer default 0 check (chunk_count >= 0),
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
  check ((processing_status = 'failed') = (processing_error is not null))
);
comment on column public.documents.chatbot_id is 'Null: shared by all bots of the company.';
comment on column public.documents.processing_error is
  'JSON {"code", "params"} of the error, told in the reader''s language.';
create index documents_newest_idx on public.documents (company_id, created_at desc);
create index documents_chatbot_idx on public.documents (company_id, chatbot_id);
create index documents_uploaded_by_idx on public.documents (company_id, uploaded_by);
-- The same file twice for the same bot is a mistake, not more knowledge.
create unique index documents_content_key
  on public.documents (company_id, chatbot_id, content_digest) nulls not distinct
  where retired_at is null;

create table public.document_chunks (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  document_id uuid not null,
  content text not null check (content <> ''),
  chunk_index integer not null check (chunk_index >= 0),
  character_count integer not null,
  embedding extensions.vector,
  embedding_model text,
  embedding_dimensions smallint generated always as (extensions.vector_dims(embedding)) stored,
  page_number integer check (page_number > 0),
  section_title varchar(500),
  context_before text,
  context_after text,
  match_count integer not null default 0,
  last_matched_at timestamptz,
  search tsvector generated always as (
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
create index document_chunks_search_idx on public.document_chunks using gin (search);
create index document_chunks_model_idx
  on public.document_chunks (embedding_model, embedding_dimensions);

create table public.knowledge_queries (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid,
  message_id uuid,
  query_text text not null,
  query_embedding extensions.vector,
  results_count integer not null default 0,
  top_similarity_score decimal(5, 4),
  processing_time_ms integer,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id),
  foreign key (company_id, message_id) references public.messages (company_id, id)
);
create index knowledge_queries_conversation_idx
  on public.knowledge_queries (company_id, conversation_id);
create index knowledge_queries_message_idx on public.knowledge_queries (company_id, message_id);
create index knowledge_queries_newest_idx on public.knowledge_queries (company_id, created_at desc);

create trigger set_updated_at before update on public.documents
  for each row execute function private.set_updated_at();

reset role;
-- migrate:down
